"""Walks through the layers of a Sample Factory state dictionary.

Kernels have PyTorch's layout, [outputs, inputs] or [outputs, inputs, height, width].
Images are [channels, height, width], and are flattened in this order.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from jaxfactory._util.errors import UserError
from jaxfactory.sample_factory.settings import Settings
from jaxfactory.sample_factory.slots import Place, Slot


# Kernels and strides of the convolutions; the weights' shapes give the channels.
_CONVOLUTIONS = {
    "convnet_simple": ((8, 4, 3), (4, 2, 2)),
    "convnet_impala": ((8, 4), (4, 2)),
    "convnet_atari": ((8, 4, 3), (4, 2, 1)),
}
RESIDUAL = "resnet_impala"
ENCODERS = (*_CONVOLUTIONS, RESIDUAL)
# The residual encoder's stages; each has a convolution, a pooling and its blocks.
_STAGES = 3
_BLOCKS = 2
_BLOCK = "res_block_core"
_COLORS = 3


class ImageLayers(NamedTuple):
    """The part of an encoder that reads the image, as fields of `NetworkConfig`."""

    encoder: str
    conv_channels: tuple[int, ...]
    conv_kernels: tuple[int, ...] | None
    conv_strides: tuple[int, ...] | None
    hidden_size: int
    dense_sizes: tuple[int, ...]


class LayerReader:
    """Finds layers and maps their arrays to jaxfactory's parameters.

    Attributes:
        found: The arrays mapped so far.
    """

    def __init__(self, settings: Settings, model: Mapping[str, np.ndarray]) -> None:
        self.settings = settings
        self.model = model
        self.found: list[Slot] = []

    def shape(self, name: str, rank: int) -> tuple[int, ...]:
        """Return an array's shape; refuse an array of another rank."""
        if name not in self.model:
            raise self.mismatch(f"{name} is missing")
        shape = tuple(int(size) for size in self.model[name].shape)
        if len(shape) != rank:
            raise self.mismatch(f"{name} has {len(shape)} axes and not {rank}")
        return shape

    def mismatch(self, reason: str) -> UserError:
        """Return the error for a checkpoint that does not fit the settings."""
        return UserError(
            f"the checkpoint does not fit {self.settings.source}: {reason}"
        )

    def refusal(self, reason: str) -> UserError:
        """Return the error for an agent that jaxfactory does not support."""
        return UserError(
            f"{self.settings.source}: this agent cannot be imported: {reason}"
        )

    def add(self, place: Place, name: str, arrange: Any, *shape: int) -> None:
        """Map an array, given its shape in PyTorch."""
        if self.shape(name, len(shape)) != shape:
            raise self.mismatch(f"{name} is {self.model[name].shape} and not {shape}")
        self.found.append(Slot(place, name, arrange))

    def affine(self, place: Place, name: str) -> int:
        """Map a linear layer; return its number of outputs."""
        outputs, inputs = self.shape(f"{name}.weight", 2)
        self.add((*place, "kernel"), f"{name}.weight", np.transpose, outputs, inputs)
        self.add((*place, "bias"), f"{name}.bias", as_it_is, outputs)
        return outputs

    def layers(self, root: str, place: Place, name: str) -> tuple[int, ...]:
        """Map linear layers with activations between them; return their sizes."""
        sizes: list[int] = []
        while f"{root}.{2 * len(sizes)}.weight" in self.model:
            index = len(sizes)
            where = (*place, f"{name}_{index}")
            sizes.append(self.affine(where, f"{root}.{2 * index}"))
        return tuple(sizes)

    def convolution(self, place: Place, name: str, channels: int, size: int) -> int:
        """Map a square convolution; return its output channels."""
        outputs = self.shape(f"{name}.weight", 4)[0]
        self.add(
            (*place, "kernel"), f"{name}.weight", _kernel_as_hwio,
            outputs, channels, size, size,
        )  # fmt: skip
        self.add((*place, "bias"), f"{name}.bias", as_it_is, outputs)
        return outputs


class ImageReader:
    """Reads the part of an encoder that processes the image."""

    def __init__(self, reader: LayerReader, encoder: str, place: Place) -> None:
        """Locate the encoder.

        Args:
            reader: Reader of the state dictionary.
            encoder: The encoder's name in the state dictionary.
            place: Keys of the encoder in jaxfactory's parameters.

        Raises:
            UserError: If there is none.
        """
        # Names in the Doom examples' encoder and in the one for any dictionary. Without
        # residual blocks the convolutions were compiled as a separate module.
        roots = (
            f"{encoder}.{kind}{compiled}"
            for kind in ("basic_encoder", "encoders.obs")
            for compiled in (".enc", "")
        )
        found = [root for root in roots if f"{root}.conv_head.0.weight" in reader.model]
        if not found:
            raise UserError(
                f"{reader.settings.source}: the checkpoint has no convolutions; agents "
                "that see no image cannot be imported"
            )
        self._reader = reader
        self._root = found[0]
        self._place = place

    def size(self) -> tuple[int, int, int]:
        """Return (height, width, channels) of the image."""
        reader = self._reader
        channels = reader.shape(f"{self._root}.conv_head.0.weight", 4)[1]
        if channels != _COLORS:
            raise reader.refusal(f"its images have {channels} channels and not 3")
        height = reader.settings.get("res_h", 72)
        width = reader.settings.get("res_w", 128)
        return height, width, channels

    def read(self, architecture: str) -> ImageLayers:
        """Map all layers; return them."""
        if architecture == RESIDUAL:
            maps, channels = self._stages()
            kernels = strides = None
        else:
            kernels, strides = _CONVOLUTIONS[architecture]
            maps, channels = self._convolutions(kernels, strides)
        sizes = self._dense(maps)
        encoder = RESIDUAL if architecture == RESIDUAL else "conv"
        return ImageLayers(encoder, channels, kernels, strides, sizes[0], sizes[1:])

    def _convolutions(
        self, kernels: tuple[int, ...], strides: tuple[int, ...]
    ) -> tuple[tuple[int, int, int], tuple[int, ...]]:
        """Return (height, width, channels) of the last maps, and all channels."""
        height, width, channels = self.size()
        made = []
        for index, (size, stride) in enumerate(zip(kernels, strides, strict=True)):
            # An activation follows each convolution in the sequence.
            name = f"{self._root}.conv_head.{2 * index}"
            place = (*self._place, f"conv_{index}")
            channels = self._reader.convolution(place, name, channels, size)
            height, width = (height - size) // stride + 1, (width - size) // stride + 1
            made.append(channels)
        return (height, width, channels), tuple(made)

    def _stages(self) -> tuple[tuple[int, int, int], tuple[int, ...]]:
        height, width, channels = self.size()
        made = []
        for stage in range(_STAGES):
            # Index 1 of the sequence is the pooling.
            first = stage * (2 + _BLOCKS)
            place = (*self._place, f"stage_{stage}")
            name = f"{self._root}.conv_head"
            channels = self._reader.convolution(
                (*place, "conv"), f"{name}.{first}", channels, 3
            )
            for block in range(_BLOCKS):
                for conv in range(2):
                    self._reader.convolution(
                        (*place, f"block_{block}", f"conv_{conv}"),
                        f"{name}.{first + 2 + block}.{_BLOCK}.{1 + 2 * conv}",
                        channels,
                        3,
                    )
            height, width = (height + 1) // 2, (width + 1) // 2
            made.append(channels)
        return (height, width, channels), tuple(made)

    def _dense(self, maps: tuple[int, int, int]) -> tuple[int, ...]:
        """Map the dense layers; the inputs of the first are reordered."""
        reader = self._reader
        told = reader.settings.get("encoder_conv_mlp_layers", [512])
        if not told:
            raise reader.refusal(
                "encoder_conv_mlp_layers is [] and jaxfactory's network has a dense "
                "layer after the convolutions"
            )
        height, width, channels = maps
        root = f"{self._root}.mlp_layers"
        outputs = reader.shape(f"{root}.0.weight", 2)[0]

        def arrange(weight: np.ndarray) -> np.ndarray:
            chw = weight.reshape(outputs, channels, height, width)
            return chw.transpose(2, 3, 1, 0).reshape(-1, outputs)

        inputs = channels * height * width
        place = (*self._place, "dense")
        reader.add((*place, "kernel"), f"{root}.0.weight", arrange, outputs, inputs)
        reader.add((*place, "bias"), f"{root}.0.bias", as_it_is, outputs)
        sizes = [outputs]
        for index in range(1, len(told)):
            where = (*self._place, f"dense_{index}")
            sizes.append(reader.affine(where, f"{root}.{2 * index}"))
        return tuple(sizes)


def as_it_is(array: np.ndarray) -> np.ndarray:
    """Return the array: both networks use the same order."""
    return array


def _kernel_as_hwio(kernel: np.ndarray) -> np.ndarray:
    return kernel.transpose(2, 3, 1, 0)
