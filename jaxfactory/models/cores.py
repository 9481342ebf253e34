"""Recurrent cores: GRU, LSTM, and none."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax
from jaxtyping import Array

from jaxfactory.models.bfloat16.gru import gru, usable
from jaxfactory.models.layers import affine, uniform
from jaxfactory.types import Carry


class GRU(nnx.Module):
    """Gated recurrent unit, in the form that resets after the recurrent product.

    The gates are in the order reset, update, candidate, with
    ``n = tanh(W x + b + r * (U h + c))``, as in cuDNN and PyTorch, so that weights can
    be exchanged with them.
    """

    def __init__(self, inputs: int, size: int, rngs: nnx.Rngs):
        self.kernel = uniform(rngs, (inputs, 3 * size), size)
        self.bias = uniform(rngs, (3 * size,), size)
        self.recurrent_kernel = uniform(rngs, (size, 3 * size), size)
        self.recurrent_bias = uniform(rngs, (3 * size,), size)
        self.size = size

    def project(self, x: Array) -> Array:
        """Apply the input weights; needs no carry, so all steps run at once."""
        return affine(x, self.kernel[...], self.bias[...])

    @property
    def has_unroll(self) -> bool:
        """Whether a kernel takes all steps."""
        return usable(self.size)

    def unroll(
        self, h: Array, projected: Array, is_first: Array
    ) -> tuple[Array, Array]:
        """Take T steps with bfloat16 products, ``-> (carry, [T, B, size])``.

        Only where `has_unroll`.
        """
        kernel, bias = self.recurrent_kernel[...], self.recurrent_bias[...]
        states = gru(projected, is_first, h, kernel, bias)
        return states[-1], states

    def step(self, h: Array, projected: Array) -> tuple[Array, Array]:
        """Take one step, ``[B, size]`` and ``[B, 3 size] -> (carry, output)``."""
        recurrent = affine(h, self.recurrent_kernel[...], self.recurrent_bias[...])
        x_r, x_z, x_n = jnp.split(projected, 3, axis=-1)
        h_r, h_z, h_n = jnp.split(recurrent, 3, axis=-1)
        reset = nnx.sigmoid(x_r + h_r)
        keep = nnx.sigmoid(x_z + h_z)
        candidate = jnp.tanh(x_n + reset * h_n)
        h = candidate + keep * (h - candidate)
        return h, h


class LSTM(nnx.Module):
    """Long short-term memory; gates in the order input, forget, cell, output."""

    has_unroll = False

    def __init__(self, inputs: int, size: int, rngs: nnx.Rngs):
        self.kernel = uniform(rngs, (inputs, 4 * size), size)
        self.bias = uniform(rngs, (4 * size,), size)
        self.recurrent_kernel = uniform(rngs, (size, 4 * size), size)
        self.recurrent_bias = uniform(rngs, (4 * size,), size)
        self.size = size

    def project(self, x: Array) -> Array:
        """Apply the input weights; needs no carry, so all steps run at once."""
        return affine(x, self.kernel[...], self.bias[...])

    def step(self, carry: tuple[Array, Array], projected: Array) -> tuple[Carry, Array]:
        """Take one step, ``[B, size]`` twice and ``[B, 4 size] -> (carry, output)``."""
        h, c = carry
        gates = projected + affine(
            h, self.recurrent_kernel[...], self.recurrent_bias[...]
        )
        write, keep, cell, read = jnp.split(gates, 4, axis=-1)
        c = nnx.sigmoid(keep) * c + nnx.sigmoid(write) * jnp.tanh(cell)
        h = nnx.sigmoid(read) * jnp.tanh(c)
        return (h, c), h


class NoCore(nnx.Module):
    """No recurrence: returns the features unchanged, with an empty carry."""

    has_unroll = False

    def __init__(self, inputs: int, size: int, rngs: nnx.Rngs):
        del size, rngs
        self.size = inputs

    def project(self, x: Array) -> Array:
        """Return the features, float32."""
        return x.astype(jnp.float32)

    def step(self, carry: Carry, projected: Array) -> tuple[Carry, Array]:
        """Return both unchanged."""
        return carry, projected


CORES = {"gru": GRU, "lstm": LSTM, "none": NoCore}


def scan(
    core: Any, carry: Carry, projected: Array, is_first: Array, half: bool
) -> tuple[Carry, Array]:
    """Run one layer of a core over T steps; `half` if its products are bfloat16."""
    if half and core.has_unroll:
        return core.unroll(carry, projected, is_first)
    if not jax.tree.leaves(carry):
        return carry, projected

    def step(carry: Carry, xs: tuple[Array, Array]) -> tuple[Carry, Array]:
        x, first = xs
        return core.step(reset(carry, first), x)

    return lax.scan(step, carry, (projected, is_first))


def reset(carry: Carry, is_first: Array) -> Carry:
    """Return the carry with zeros where an episode begins."""

    def clear(leaf: Array) -> Array:
        return jnp.where(jnp.broadcast_to(is_first[:, None], leaf.shape), 0.0, leaf)

    return jax.tree.map(clear, carry)
