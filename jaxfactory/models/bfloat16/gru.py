"""The gated recurrent unit over several steps."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxfactory.models.bfloat16 import kernels


def usable(size: int) -> bool:
    """Whether `gru` can be used: a unit of that size, here; see csrc/kernels/gru.h."""
    return kernels.used() and size % 16 == 0


@jax.custom_vjp
def gru(
    projected: Float[Array, "T B gates"],
    is_first: Bool[Array, "T B"],
    state: Float[Array, "B size"],
    kernel: Float[Array, "size gates"],
    bias: Float[Array, "gates"],
) -> Float[Array, "T B size"]:
    """Return the states after each step; the last one is the carry.

    Args:
        projected: The products with the inputs, with their bias.
        is_first: Where an episode begins; the state is reset there first.
        state: Before the first step.
        kernel: Of the products with the state.
        bias: Of those.
    """
    return _call(projected, is_first, state, kernel, bias, kept=False)[0]


def _call(
    projected: Array, is_first: Array, state: Array, kernel: Array, bias: Array,
    *, kept: bool,
) -> list[Array]:  # fmt: skip
    steps, batch, size = *is_first.shape, state.shape[1]
    widths = (size, 4 * size) if kept else (size,)
    results = [
        jax.ShapeDtypeStruct((steps, batch, width), jnp.float32) for width in widths
    ]
    return kernels.call(
        "gru_forward", results, projected, is_first, state, kernel, bias
    )


def _forward(*args: Array) -> tuple[Array, tuple[Array, ...]]:
    states, kept = _call(*args, kept=True)
    _, is_first, state, kernel, _ = args
    return states, (is_first, state, states, kept, kernel)


def _backward(saved: tuple[Array, ...], errors: Array) -> tuple[Any, ...]:
    is_first, state, states, kept, kernel = saved
    steps, batch, size = *is_first.shape, state.shape[1]
    sizes = (steps, batch, 3 * size), (batch, size), kernel.shape, kernel.shape[1:]
    shapes = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in sizes]
    d_projected, d_state, d_kernel, d_bias = kernels.call(
        "gru_backward", shapes, is_first, state, states, kept, errors, kernel
    )
    return d_projected, None, d_state, d_kernel, d_bias


gru.defvjp(_forward, _backward)
