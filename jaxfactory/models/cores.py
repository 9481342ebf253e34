"""Recurrent cores: GRU, minimal GRU, LSTM, and none."""

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

    def unrolls(self, half: bool) -> bool:
        """Whether `unroll` takes all steps at once; `half` if products are bfloat16."""
        return half and usable(self.size)

    def unroll(
        self, h: Array, projected: Array, is_first: Array
    ) -> tuple[Array, Array]:
        """Take T steps with bfloat16 products, ``-> (carry, [T, B, size])``.

        Only where `unrolls`.
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


class MinGRU(nnx.Module):
    """Minimal gated recurrent unit: gate and candidate depend on the input alone.

    So the state is ``h' = (1 - z) h + z n`` with ``z = sigmoid(W x + b)`` and
    ``n = tanh(V x + c)``: linear in h, and all steps are computed at once by a parallel
    scan, without a product per step (Feng et al., "Were RNNs all we needed?", 2024; the
    tanh keeps the state within [-1, 1] as a GRU's).
    """

    def __init__(self, inputs: int, size: int, rngs: nnx.Rngs):
        self.kernel = uniform(rngs, (inputs, 2 * size), size)
        self.bias = uniform(rngs, (2 * size,), size)
        self.size = size

    def unrolls(self, half: bool) -> bool:
        """Whether `unroll` takes all steps at once."""
        del half
        return True

    def project(self, x: Array) -> Array:
        """Apply the weights; needs no carry, so all steps run at once."""
        return affine(x, self.kernel[...], self.bias[...])

    def unroll(
        self, h: Array, projected: Array, is_first: Array
    ) -> tuple[Array, Array]:
        """Take T steps, ``[T, B, 2 size] -> (carry, [T, B, size])``."""
        keep, added = self._line(projected)
        keep = jnp.where(is_first[..., None], 0.0, keep)
        # The state before the steps is a first one: a line that does not depend on h.
        keep = jnp.concatenate([jnp.zeros_like(h)[None], keep])
        added = jnp.concatenate([h[None], added])
        _, states = lax.associative_scan(_after, (keep, added))
        return states[-1], states[1:]

    def step(self, h: Array, projected: Array) -> tuple[Array, Array]:
        """Take one step, ``[B, size]`` and ``[B, 2 size] -> (carry, output)``."""
        keep, added = self._line(projected)
        h = keep * h + added
        return h, h

    def _line(self, projected: Array) -> tuple[Array, Array]:
        """Return the factor of the state before a step, and what is added."""
        gate, candidate = jnp.split(projected, 2, axis=-1)
        return nnx.sigmoid(-gate), nnx.sigmoid(gate) * jnp.tanh(candidate)


def _after(
    first: tuple[Array, Array], second: tuple[Array, Array]
) -> tuple[Array, Array]:
    """Return the line that applies one line, then another."""
    return first[0] * second[0], second[0] * first[1] + second[1]


class LSTM(nnx.Module):
    """Long short-term memory; gates in the order input, forget, cell, output."""

    def __init__(self, inputs: int, size: int, rngs: nnx.Rngs):
        self.kernel = uniform(rngs, (inputs, 4 * size), size)
        self.bias = uniform(rngs, (4 * size,), size)
        self.recurrent_kernel = uniform(rngs, (size, 4 * size), size)
        self.recurrent_bias = uniform(rngs, (4 * size,), size)
        self.size = size

    def project(self, x: Array) -> Array:
        """Apply the input weights; needs no carry, so all steps run at once."""
        return affine(x, self.kernel[...], self.bias[...])

    def unrolls(self, half: bool) -> bool:
        """Whether all steps are taken at once."""
        del half
        return False

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

    def __init__(self, inputs: int, size: int, rngs: nnx.Rngs):
        del size, rngs
        self.size = inputs

    def project(self, x: Array) -> Array:
        """Return the features, float32."""
        return x.astype(jnp.float32)

    def unrolls(self, half: bool) -> bool:
        """Whether all steps are taken at once."""
        del half
        return False

    def step(self, carry: Carry, projected: Array) -> tuple[Carry, Array]:
        """Return both unchanged."""
        return carry, projected


CORES = {"gru": GRU, "mingru": MinGRU, "lstm": LSTM, "none": NoCore}


def scan(
    core: Any, carry: Carry, projected: Array, is_first: Array, half: bool
) -> tuple[Carry, Array]:
    """Run one layer of a core over T steps; `half` if its products are bfloat16."""
    if core.unrolls(half):
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
