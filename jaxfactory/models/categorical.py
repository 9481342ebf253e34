"""The categorical distribution over independent action heads, as functions.

Heads of sizes ``(3, 2)`` have logits ``[..., 5]``: the first three belong to the first
head, the last two to the second. Heads are independent, so the log-probability, entropy
and divergence of the joint action are sums over the heads.
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Int32, Key

from jaxfactory.distributed.reductions import WHOLE, Reductions


Heads = tuple[int, ...]

# Of probabilities whose logarithm is taken.
_SMALLEST = 1e-30


def split_heads(
    logits: Float[Array, "*batch logits"], heads: Heads
) -> list[Float[Array, "*batch _"]]:
    """Split concatenated logits into one array ``[..., n]`` for each head.

    Raises:
        ValueError: If the logits' last axis is not the sum of the heads' sizes.
    """
    if logits.shape[-1] != sum(heads):
        raise ValueError(
            f"logits of {logits.shape[-1]} entries do not fit action heads {heads}, "
            f"which need {sum(heads)}"
        )
    offsets = [sum(heads[:index]) for index in range(len(heads))]
    return [
        logits[..., offset : offset + size]
        for offset, size in zip(offsets, heads, strict=True)
    ]


def sample(
    key: Key[Array, ""], logits: Float[Array, "*batch logits"], heads: Heads
) -> Int32[Array, "*batch heads"]:
    """Draw one index for each head.

    Args:
        key: A typed key; do not use it again.
        logits: Concatenated logits of all heads.
        heads: Number of choices of each head.

    Returns:
        One index for each head.
    """
    keys = jax.random.split(key, len(heads))
    draws = [
        jax.random.categorical(head_key, part)
        for head_key, part in zip(keys, split_heads(logits, heads), strict=True)
    ]
    return jnp.stack(draws, axis=-1).astype(jnp.int32)


def mode(
    logits: Float[Array, "*batch logits"], heads: Heads
) -> Int32[Array, "*batch heads"]:
    """Return the most probable index of each head."""
    best = [jnp.argmax(part, axis=-1) for part in split_heads(logits, heads)]
    return jnp.stack(best, axis=-1).astype(jnp.int32)


def log_prob(
    logits: Float[Array, "*batch logits"],
    action: Int[Array, "*batch heads"],
    heads: Heads,
) -> Float[Array, "*batch"]:
    """Return the log-probability of the joint action: the sum over the heads."""

    def one(part: Array, index: Array) -> Array:
        log_p = jax.nn.log_softmax(part)
        # A masked sum and not a gather: its gradient is elementwise, where a
        # gather's is a scatter, which is slow on CPU and on GPU alike.
        choices = jnp.arange(part.shape[-1], dtype=index.dtype)
        chosen = jnp.expand_dims(choices, tuple(range(index.ndim))) == index[..., None]
        return jnp.where(chosen, log_p, 0.0).sum(-1)

    parts = split_heads(logits, heads)
    return sum(one(part, action[..., i]) for i, part in enumerate(parts))


def entropy(
    logits: Float[Array, "*batch logits"], heads: Heads
) -> Float[Array, "*batch"]:
    """Return the entropy in nats, summed over the heads."""

    def one(log_p: Array) -> Array:
        return -(jnp.exp(log_p) * log_p).sum(-1)

    return _sum_over_heads(one, logits, heads)


def entropy_of_mean(
    logits: Float[Array, "*batch logits"], heads: Heads, over: Reductions = WHOLE
) -> Float[Array, ""]:
    """Return the entropy of the batch's mean probabilities, summed over the heads.

    It is high if every choice is made somewhere, and says nothing of how certain each
    single choice is.
    """

    def one(log_p: Array) -> Array:
        mean = jnp.exp(log_p).reshape(-1, log_p.shape[-1]).mean(0)
        mean = over.average(mean)
        return -(mean * jnp.log(jnp.maximum(mean, _SMALLEST))).sum()

    return _sum_over_heads(one, logits, heads)


def symmetric_kl_to_uniform(
    logits: Float[Array, "*batch logits"], heads: Heads
) -> Float[Array, "*batch"]:
    """Return ``1/2 [KL(p||u) + KL(u||p)]`` of each head, summed over the heads.

    Unlike the entropy, it grows without bound as the probability of any choice goes to
    0, which keeps every action possible. It is not capped here.
    """

    def one(log_p: Array) -> Array:
        # With u = 1/n, both terms combine to 1/2 sum (p - u)(log p - log u).
        uniform = 1.0 / log_p.shape[-1]
        gap = log_p - math.log(uniform)
        return 0.5 * ((jnp.exp(log_p) - uniform) * gap).sum(-1)

    return _sum_over_heads(one, logits, heads)


def _sum_over_heads(
    function: Callable[[Array], Array], logits: Array, heads: Heads
) -> Array:
    parts = split_heads(logits, heads)
    return sum(function(jax.nn.log_softmax(part)) for part in parts)
