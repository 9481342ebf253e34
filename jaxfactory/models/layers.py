"""Layers of the networks.

What they compute of bfloat16 inputs is in `bfloat16`.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from jaxfactory.models.activations import ACTIVATIONS
from jaxfactory.models.bfloat16.dense import dense
from jaxfactory.models.convolution import conv2d
from jaxfactory.types import Params


def uniform(rngs: nnx.Rngs, shape: tuple[int, ...], fan_in: int) -> nnx.Param:
    """Return weights between ``-1 / sqrt(fan_in)`` and ``1 / sqrt(fan_in)``."""
    bound = 1.0 / math.sqrt(fan_in)
    return nnx.Param(
        jax.random.uniform(rngs.params(), shape, jnp.float32, -bound, bound)
    )


def with_gain(params: Params, gain: float) -> Params:
    """Return parameters with the weights that see images multiplied by the gain."""

    def scaled(path: tuple[Any, ...], leaf: Array) -> Array:
        # A user's encoder may have lists of layers, whose keys are numbers.
        *owners, name = (str(entry.key) for entry in path)
        sees = "encoder" in owners and not owners[-1].startswith("measurements")
        return leaf * gain if sees and name == "kernel" and gain != 1.0 else leaf

    return jax.tree_util.tree_map_with_path(scaled, params)


def affine(
    x: Float[Array, "... inputs"],
    kernel: Float[Array, "inputs outputs"],
    bias: Float[Array, "outputs"],
) -> Float[Array, "... outputs"]:
    """Return ``x @ kernel + bias``, float32."""
    if x.dtype == jnp.bfloat16:
        return dense(x, kernel, bias, "float32")
    y = x @ kernel
    return y + jnp.broadcast_to(bias, y.shape)


class Dense(nnx.Module):
    """Affine layer and activation, ``[..., inputs] -> [..., outputs]``.

    The initialization is uniform; the results have the type of the inputs.
    """

    def __init__(self, inputs: int, outputs: int, rngs: nnx.Rngs):
        self.kernel = uniform(rngs, (inputs, outputs), inputs)
        self.bias = uniform(rngs, (outputs,), inputs)

    def __call__(self, x: Array, activation: str = "identity") -> Array:
        """Return the layer's output."""
        kernel, bias = self.kernel[...], self.bias[...]
        if x.dtype == jnp.bfloat16:
            return dense(x, kernel, bias, activation)
        return ACTIVATIONS[activation](affine(x, kernel, bias))


class OrthogonalDense(nnx.Module):
    """Affine layer with an orthogonal kernel of the given gain and a bias of zeros."""

    def __init__(self, inputs: int, outputs: int, rngs: nnx.Rngs, gain: float = 1.0):
        initializer = jax.nn.initializers.orthogonal(gain)
        kernel = initializer(rngs.params(), (inputs, outputs))
        self.kernel = nnx.Param(kernel)
        self.bias = nnx.Param(jnp.zeros((outputs,)))

    def __call__(self, x: Array) -> Array:
        """Return the layer's output."""
        return affine(x, self.kernel[...], self.bias[...])


class Conv(nnx.Module):
    """Convolution without padding, ``[N, H, W, C] -> [N, P, Q, O]``."""

    def __init__(
        self, inputs: int, outputs: int, size: int, stride: int, rngs: nnx.Rngs
    ):
        fan_in = size * size * inputs
        self.kernel = uniform(rngs, (size, size, inputs, outputs), fan_in)
        self.bias = uniform(rngs, (outputs,), fan_in)
        self.stride = stride

    def __call__(self, x: Array) -> Array:
        """Return the layer's output."""
        y = conv2d(x, self.kernel[...], self.stride)
        return y + jnp.broadcast_to(self.bias[...], y.shape)
