"""The dense layer."""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxfactory.models.activations import ACTIVATIONS
from jaxfactory.models.bfloat16 import kernels


def fits(inputs: int, outputs: int) -> bool:
    """Whether the C++ kernels support a layer; see csrc/kernels/dense.h."""
    return inputs % 16 == 0 and outputs % 16 == 0


def dense(
    x: Float[Array, "*batch inputs"],
    kernel: Float[Array, "inputs outputs"],
    bias: Float[Array, "outputs"],
    activation: str,
) -> Float[Array, "*batch outputs"]:
    """Return ``activation(x @ kernel + bias)``.

    Args:
        x: bfloat16.
        kernel: float32.
        bias: float32.
        activation: Of `ACTIVATIONS`, or "identity"; "float32" is the identity with
            float32 results instead of bfloat16 ones.
    """
    if not (kernels.used() and fits(*kernel.shape)):
        return plain_dense(x, kernel, bias, activation)
    flat = x.reshape(-1, x.shape[-1])
    y = _dense(flat, kernel, bias, activation)
    return y.reshape(*x.shape[:-1], y.shape[-1])


def plain_dense(x: Array, kernel: Array, bias: Array, activation: str) -> Array:
    """Compute `dense` with XLA's product."""
    # A product with float32 results would have a gradient of mixed types.
    y = (x @ kernel.astype(jnp.bfloat16)).astype(jnp.float32)
    y = y + jnp.broadcast_to(bias, y.shape)
    if activation == "float32":
        return y
    return ACTIVATIONS[activation](y).astype(jnp.bfloat16)


@partial(jax.custom_vjp, nondiff_argnums=(3,))
def _dense(x: Array, kernel: Array, bias: Array, activation: str) -> Array:
    kind = jnp.float32 if activation == "float32" else jnp.bfloat16
    result = jax.ShapeDtypeStruct((x.shape[0], kernel.shape[1]), kind)
    return kernels.call("dense_forward", result, x, kernel, bias, activation=activation)


def _forward(
    x: Array, kernel: Array, bias: Array, activation: str
) -> tuple[Array, tuple[Array, Array, Array]]:
    y = _dense(x, kernel, bias, activation)
    linear = activation in ("float32", "identity")
    kept = jnp.zeros((0, kernel.shape[1]), jnp.bfloat16) if linear else y
    return y, (x, kernel, kept)


def _backward(
    activation: str, saved: tuple[Array, Array, Array], dy: Array
) -> tuple[Array, Array, Array]:
    x, kernel, y = saved
    shapes = [
        jax.ShapeDtypeStruct(shape, jnp.float32)
        for shape in (x.shape, kernel.shape, kernel.shape[1:])
    ]
    dx, d_kernel, d_bias = kernels.call(
        "dense_backward", shapes, x, y, dy.astype(jnp.float32), kernel,
        activation="identity" if activation == "float32" else activation,
    )  # fmt: skip
    return dx.astype(x.dtype), d_kernel, d_bias


_dense.defvjp(_forward, _backward)
