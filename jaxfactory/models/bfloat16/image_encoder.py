"""Convolutions of uint8 images, normalized on the way in."""

from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, UInt8

from jaxfactory.models.activations import ACTIVATIONS
from jaxfactory.models.bfloat16 import kernels


class Pixels(NamedTuple):
    """Images, and how a pixel is normalized: ``clip(pixel * scale + shift, +-clip)``.

    Attributes:
        values: uint8 ``[N, H, W, C]``.
        scale: float32 ``[H, W, C]``.
        shift: float32 ``[H, W, C]``.
        clip: float32 scalar.
    """

    values: UInt8[Array, "*batch H W C"]
    scale: Float[Array, "H W C"]
    shift: Float[Array, "H W C"]


class Layers(NamedTuple):
    """Convolutions without padding, each followed by the activation function.

    Attributes:
        strides: Stride of each, for both axes.
        activation: elu, relu or tanh.
        clip: Bound of a normalized pixel.
    """

    strides: tuple[int, ...]
    activation: str
    clip: float


# Kernel [k, k, C, O] and bias [O] of each layer.
Weights = tuple[tuple[Array, Array], ...]


def fits(channels: tuple[int, ...], sizes: tuple[int, ...]) -> bool:
    """Whether the C++ kernels support these layers; see csrc/kernels/image_encoder.h.

    Args:
        channels: Of the image and of each layer's output.
        sizes: Kernel size of each layer.
    """
    for index, ((inputs, outputs), size) in enumerate(
        zip(pairwise(channels), sizes, strict=True)
    ):
        unit = 16 if index else 8  # The image itself needs no gradient.
        if outputs % 16 or size * inputs % unit:
            return False
    return bool(sizes)


def image_features(
    pixels: Pixels, weights: Weights, layers: Layers
) -> Float[Array, "N P Q O"]:
    """Return the last layer's activations, bfloat16."""
    shapes = [kernel.shape for kernel, _ in weights]
    channels = (pixels.values.shape[-1], *(shape[-1] for shape in shapes))
    if not (kernels.used() and fits(channels, tuple(shape[0] for shape in shapes))):
        return plain_image_features(pixels, weights, layers)
    return _features(tuple(pixels), weights, layers)


def plain_image_features(
    pixels: Pixels, weights: Weights, layers: Layers
) -> Float[Array, "N P Q O"]:
    """Compute `image_features` with XLA's convolutions."""
    shape = pixels.values.shape
    x = pixels.values.astype(jnp.float32) * jnp.broadcast_to(pixels.scale, shape)
    x = x + jnp.broadcast_to(pixels.shift, shape)
    x = jnp.clip(x, -layers.clip, layers.clip).astype(jnp.bfloat16)
    for (kernel, bias), stride in zip(weights, layers.strides, strict=True):
        # float32 results of bfloat16 factors: their gradient would mix both types.
        y = lax.conv_general_dilated(
            x, kernel.astype(jnp.bfloat16), (stride, stride), "VALID",
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        ).astype(jnp.float32)  # fmt: skip
        y = ACTIVATIONS[layers.activation](y + jnp.broadcast_to(bias, y.shape))
        x = y.astype(jnp.bfloat16)
    return x


# Arrays, or constants of a program.
_Images = tuple[Any, Any, Any]


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _features(images: _Images, weights: Weights, layers: Layers) -> Array:
    shapes = _result_shapes(images, weights, layers)
    return _call("encoder_forward", shapes[-1:], images, weights, layers)[0]


def _result_shapes(
    images: _Images, weights: Weights, layers: Layers
) -> list[jax.ShapeDtypeStruct]:
    count, height, width, _ = images[0].shape
    shapes = []
    for (kernel, _), stride in zip(weights, layers.strides, strict=True):
        size, outputs = kernel.shape[0], kernel.shape[-1]
        height, width = ((n - size) // stride + 1 for n in (height, width))
        shape = (count, height, width, outputs)
        shapes.append(jax.ShapeDtypeStruct(shape, jnp.bfloat16))
    return shapes


def _call(
    name: str, results: list, images: _Images, weights: Weights, layers: Layers,
    *more: Array,
) -> list[Array]:  # fmt: skip
    flat = [array for layer in weights for array in layer]
    return kernels.call(
        name, results, *images, *more, *flat,
        strides=np.array(layers.strides, np.int64), activation=layers.activation,
        clip=np.float32(layers.clip),
    )  # fmt: skip


def _forward(
    images: _Images, weights: Weights, layers: Layers
) -> tuple[Array, tuple[_Images, Weights, list[Array]]]:
    shapes = _result_shapes(images, weights, layers)
    results = _call("encoder_forward", shapes, images, weights, layers)
    return results[-1], (images, weights, results)


def _backward(
    layers: Layers, saved: tuple[_Images, Weights, list[Array]], errors: Array
) -> tuple[_Images, Weights]:
    images, weights, results = saved
    shapes = [
        jax.ShapeDtypeStruct(array.shape, jnp.float32)
        for layer in weights
        for array in layer
    ]
    errors = errors.astype(jnp.float32)
    flat = _call("encoder_backward", shapes, images, weights, layers, errors, *results)
    gradients = tuple(zip(flat[::2], flat[1::2], strict=True))
    # Nothing is trained through the images and their statistics.
    values, *statistics = images
    nothing = np.zeros(values.shape, jax.dtypes.float0)
    return (nothing, *map(jnp.zeros_like, statistics)), gradients


_features.defvjp(_forward, _backward)
