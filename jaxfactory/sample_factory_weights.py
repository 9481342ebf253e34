"""From the state dictionary of Sample Factory's actor-critic to our parameters.

Its layers are PyTorch's: kernels are [outputs, inputs], those of convolutions
[outputs, inputs, height, width], and images are [channels, height, width], also where
they are flattened. Everything that the dictionary holds must find its place, so that
what is imported is the whole network.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from jaxfactory.config import NetworkConfig
from jaxfactory.errors import UserError
from jaxfactory.sample_factory_settings import Settings
from jaxfactory.sample_factory_slots import Place, Slot, parameter_names
from jaxfactory.spec import ObservationSpec


# Kernels and strides of its encoders; the channels are read off the weights.
_ENCODERS = {
    "convnet_simple": ((8, 4, 3), (4, 2, 2)),
    "convnet_impala": ((8, 4), (4, 2)),
    "convnet_atari": ((8, 4, 3), (4, 2, 1)),
}
_COLOURS = 3
_IMAGE_ENCODERS = ("encoder.basic_encoder.enc", "encoder.encoders.obs.enc")


class Layout(NamedTuple):
    """What a state dictionary holds.

    Attributes:
        network: The network's shape.
        observation: What it reads.
        slots: Where each of its parameters belongs.
    """

    network: NetworkConfig
    observation: ObservationSpec
    slots: tuple[Slot, ...]


def describe(
    settings: Settings, model: Mapping[str, np.ndarray], order: np.ndarray
) -> Layout:
    """Return the layout of a state dictionary.

    Args:
        settings: The experiment's.
        model: The state dictionary.
        order: For each of our logits, the index of theirs.

    Raises:
        UserError: If our network has no place for something.
    """
    _check_settings(settings, model)
    reader = _LayoutReader(settings, model)
    image = reader.image_size()
    convolutions = reader.convolutions(image[2])
    reader.dense_after_convolutions(image, convolutions)
    measurements, measurement_sizes = reader.measurements()
    core_size = reader.core()
    decoder_sizes = reader.decoder()
    reader.heads(order)
    reader.check_complete()
    names = tuple(reader.found)
    return Layout(
        NetworkConfig(
            conv_channels=tuple(int(model[name].shape[0]) for name in convolutions),
            conv_kernels=_ENCODERS[reader.architecture][0],
            conv_strides=_ENCODERS[reader.architecture][1],
            hidden_size=reader.hidden_size,
            core=reader.core_kind,
            core_size=core_size,
            measurements_sizes=measurement_sizes,
            decoder_sizes=decoder_sizes,
            nonlinearity=settings.get("nonlinearity", "elu"),
        ),
        ObservationSpec(image=image, measurements=measurements),
        names,
    )


def _check_settings(settings: Settings, model: Mapping[str, np.ndarray]) -> None:
    """Refuse what our network cannot be."""
    architecture = settings.get("encoder_conv_architecture", "convnet_simple")
    layers = settings.get("rnn_num_layers", 1)
    activation = settings.get("nonlinearity", "elu")
    keys = settings.get("normalize_input_keys", [])
    reasons = {
        "actor_critic_share_weights false (separate networks for policy and value)":
            not settings.get("actor_critic_share_weights", True),
        f"encoder_conv_architecture {architecture}": architecture not in _ENCODERS,
        f"rnn_num_layers {layers}": settings.get("use_rnn", True) and layers != 1,
        f"nonlinearity {activation}": activation not in ("elu", "relu", "tanh"),
        "continuous actions": any(name.endswith("learned_stddev") for name in model),
        f"normalize_input_keys {keys} (statistics for some observations only)":
            bool(keys) and set(keys) != _observed(model),
    }  # fmt: skip
    for reason, applies in reasons.items():
        if applies:
            raise UserError(
                f"{settings.source}: this agent cannot be imported, because "
                f"jaxfactory's network has no counterpart of {reason}"
            )


def _observed(model: Mapping[str, np.ndarray]) -> set[str]:
    both = any(name.startswith("encoder.measurements_head") for name in model)
    return {"obs", "measurements"} if both else {"obs"}


class _LayoutReader:
    """Walks through a state dictionary in the order the data moves."""

    def __init__(self, settings: Settings, model: Mapping[str, np.ndarray]) -> None:
        self.settings = settings
        self.model = model
        self.found: list[Slot] = []
        self.hidden_size = 0
        self.core_kind: Any = "none"
        self.architecture = settings.get("encoder_conv_architecture", "convnet_simple")
        roots = [
            root for root in _IMAGE_ENCODERS if f"{root}.conv_head.0.weight" in model
        ]
        if not roots:
            raise UserError(
                f"{settings.source}: the checkpoint has no convolutions; agents that "
                "see no image cannot be imported"
            )
        self.encoder = roots[0]

    def _shape(self, name: str, rank: int) -> tuple[int, ...]:
        if name not in self.model:
            raise self._mismatch(f"{name} is missing")
        shape = tuple(int(size) for size in self.model[name].shape)
        if len(shape) != rank:
            raise self._mismatch(f"{name} has {len(shape)} axes and not {rank}")
        return shape

    def _mismatch(self, reason: str) -> UserError:
        return UserError(
            f"the checkpoint does not fit {self.settings.source}: {reason}"
        )

    def _add(self, place: Place, name: str, arrange: Any, *shape: int) -> None:
        """Note where an array of PyTorch's shape belongs."""
        if self._shape(name, len(shape)) != shape:
            raise self._mismatch(f"{name} is {self.model[name].shape} and not {shape}")
        self.found.append(Slot(place, name, arrange))

    def _affine(self, place: Place, name: str) -> int:
        """Note where a linear layer belongs; return its outputs."""
        outputs, inputs = self._shape(f"{name}.weight", 2)
        self._add((*place, "kernel"), f"{name}.weight", np.transpose, outputs, inputs)
        self._add((*place, "bias"), f"{name}.bias", _as_it_is, outputs)
        return outputs

    def image_size(self) -> tuple[int, int, int]:
        """Return (height, width, channels) of the image."""
        channels = self._shape(f"{self.encoder}.conv_head.0.weight", 4)[1]
        if channels != _COLOURS:
            raise UserError(
                f"{self.settings.source}: this agent cannot be imported, because its "
                f"images have {channels} channels and not {_COLOURS}"
            )
        height = self.settings.get("res_h", 72)
        width = self.settings.get("res_w", 128)
        return height, width, channels

    def convolutions(self, channels: int) -> list[str]:
        """Note where the convolutions belong; return the names of their kernels."""
        names = []
        for index, size in enumerate(_ENCODERS[self.architecture][0]):
            # An activation follows each of them in the sequence.
            name = f"{self.encoder}.conv_head.{2 * index}"
            outputs = self._shape(f"{name}.weight", 4)[0]
            place = ("encoder", f"conv_{index}")
            self._add(
                (*place, "kernel"), f"{name}.weight", _kernel_as_hwio,
                outputs, channels, size, size,
            )  # fmt: skip
            self._add((*place, "bias"), f"{name}.bias", _as_it_is, outputs)
            names.append(f"{name}.weight")
            channels = outputs
        return names

    def dense_after_convolutions(
        self, image: tuple[int, int, int], convolutions: list[str]
    ) -> None:
        """Note where the dense layer belongs, whose inputs are in another order."""
        layers = self.settings.get("encoder_conv_mlp_layers", [512])
        if len(layers) != 1:
            raise UserError(
                f"{self.settings.source}: this agent cannot be imported, because "
                f"encoder_conv_mlp_layers is {layers} and jaxfactory's network has "
                "one dense layer after the convolutions"
            )
        height, width, _ = image
        for size, stride in zip(*_ENCODERS[self.architecture], strict=True):
            height, width = (height - size) // stride + 1, (width - size) // stride + 1
        channels = self.model[convolutions[-1]].shape[0]
        name = f"{self.encoder}.mlp_layers.0"
        outputs = self._shape(f"{name}.weight", 2)[0]

        def arrange(weight: np.ndarray) -> np.ndarray:
            chw = weight.reshape(outputs, channels, height, width)
            return chw.transpose(2, 3, 1, 0).reshape(-1, outputs)

        inputs = channels * height * width
        place = ("encoder", "dense")
        self._add((*place, "kernel"), f"{name}.weight", arrange, outputs, inputs)
        self._add((*place, "bias"), f"{name}.bias", _as_it_is, outputs)
        self.hidden_size = outputs

    def measurements(self) -> tuple[int, tuple[int, ...]]:
        """Note where the measurements' layers belong; return inputs and sizes."""
        root = "encoder.measurements_head"
        if f"{root}.0.weight" not in self.model:
            return 0, NetworkConfig().measurements_sizes
        inputs = self._shape(f"{root}.0.weight", 2)[1]
        return inputs, self._layers(root, ("encoder",), "measurements")

    def _layers(self, root: str, place: Place, name: str) -> tuple[int, ...]:
        """Note where linear layers with activations between them belong."""
        sizes = []
        while f"{root}.{2 * len(sizes)}.weight" in self.model:
            index = len(sizes)
            where = (*place, f"{name}_{index}")
            sizes.append(self._affine(where, f"{root}.{2 * index}"))
        return tuple(sizes)

    def core(self) -> int:
        """Note where the recurrent core belongs; return its units."""
        size = self.settings.get("rnn_size", 512)
        if not self.settings.get("use_rnn", True):
            return size
        self.core_kind = self.settings.get("rnn_type", "gru")
        gates = {"gru": 3, "lstm": 4}.get(self.core_kind)
        if gates is None:
            raise self._mismatch(f"rnn_type is {self.core_kind!r}")
        inputs = self._shape("core.core.weight_ih_l0", 2)[1]
        # The gates are in the same order, and both keep two biases.
        for ours, theirs, shape in (
            ("kernel", "weight_ih_l0", (gates * size, inputs)),
            ("recurrent_kernel", "weight_hh_l0", (gates * size, size)),
            ("bias", "bias_ih_l0", (gates * size,)),
            ("recurrent_bias", "bias_hh_l0", (gates * size,)),
        ):
            self._add(("core", ours), f"core.core.{theirs}", np.transpose, *shape)
        return size

    def decoder(self) -> tuple[int, ...]:
        """Note where the layers after the core belong; return their sizes."""
        return self._layers("decoder.mlp", (), "decoder")

    def heads(self, order: np.ndarray) -> None:
        """Note where the heads belong."""
        root = "action_parameterization.distribution_linear"
        _, inputs = self._shape(f"{root}.weight", 2)
        self._add(
            ("policy", "kernel"), f"{root}.weight", lambda w: w[order].T,
            len(order), inputs,
        )  # fmt: skip
        self._add(("policy", "bias"), f"{root}.bias", lambda b: b[order], len(order))
        self._affine(("value",), "critic_linear")

    def check_complete(self) -> None:
        """Refuse a state dictionary with anything that was not looked at."""
        known = {slot.name for slot in self.found}
        rest = [name for name in parameter_names(self.model) if name not in known]
        if rest:
            raise UserError(
                f"{self.settings.source}: this agent cannot be imported, because "
                f"jaxfactory's network has no place for its {rest[0]}"
            )


def _kernel_as_hwio(kernel: np.ndarray) -> np.ndarray:
    return kernel.transpose(2, 3, 1, 0)


def _as_it_is(array: np.ndarray) -> np.ndarray:
    return array
