"""Small networks of dense layers as pure functions over plain parameters."""

from collections.abc import Sequence
from itertools import pairwise

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from jaxfactory.models.layers import affine
from jaxfactory.types import Params


def init(key: Key[Array, ""], sizes: Sequence[int]) -> Params:
    """Return orthogonal weights and biases of zero.

    Args:
        key: A typed key, consumed here.
        sizes: Inputs, the units of each hidden layer, outputs.
    """
    orthogonal = jax.nn.initializers.orthogonal()
    keys = jax.random.split(key, len(sizes) - 1)
    return {
        f"dense_{index}": {
            "kernel": orthogonal(keys[index], shape, jnp.float32),
            "bias": jnp.zeros(shape[1:], jnp.float32),
        }
        for index, shape in enumerate(pairwise(sizes))
    }


def apply(
    params: Params, x: Float[Array, "*batch inputs"]
) -> Float[Array, "*batch outputs"]:
    """Return the outputs; ELU follows every layer but the last."""
    for index in range(len(params)):
        layer = params[f"dense_{index}"]
        x = affine(jax.nn.elu(x) if index else x, layer["kernel"], layer["bias"])
    return x
