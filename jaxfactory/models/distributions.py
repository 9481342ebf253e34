"""What a policy draws its actions from: categorical heads, numbers, or both.

A policy with heads of sizes ``(3, 2)`` has logits ``[..., 5]``: the first three
belong to the first head, the last two to the second. Heads are independent, so the
joint log-probability, entropy and divergences are sums over the heads.

Numbers are drawn from a diagonal Gaussian, whose means and logarithms of standard
deviations stand behind the logits. What is drawn is unbounded, and its log-probability
is that of the number drawn; whoever takes the action clips it to its bounds.

`make` returns the distribution that an `ActionSpec` asks for. The functions below are
its categorical part.
"""

import math
from collections.abc import Callable
from typing import NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Float32, Int, Int32, Key

from jaxfactory.spec import ActionSpec


Heads = tuple[int, ...]

_LOG_SQRT_2PI = 0.5 * math.log(2.0 * math.pi)
# Standard deviations stay between these, 0.007 and 7.4.
_MIN_LOG_STD, _MAX_LOG_STD = -5.0, 2.0


@runtime_checkable
class Distribution(Protocol):
    """A family of distributions over actions; a network's outputs choose one of it.

    Parameters are ``[..., P]``, actions ``[..., A]``; all else is ``[...]``.
    """

    def sample(self, key: Key[Array, ""], parameters: Array) -> Array:
        """Draw an action; the key is consumed."""

    def mode(self, parameters: Array) -> Array:
        """Return the most probable action."""

    def log_prob(self, parameters: Array, action: Array) -> Array:
        """Return the action's log-probability (density)."""

    def entropy(self, parameters: Array) -> Array:
        """Return the entropy in nats."""

    def exploration_penalty(self, parameters: Array, cap: float) -> Array:
        """Return how far it is from trying everything; to be kept low.

        For heads it is the symmetric KL divergence to the uniform distribution, of all
        heads together at most `cap`; for numbers, of which there is no uniform
        distribution, minus the entropy.
        """


class Categorical(NamedTuple):
    """Independent heads alone; actions are int32.

    Attributes:
        heads: Number of choices of each.
    """

    heads: Heads

    def sample(
        self, key: Key[Array, ""], parameters: Float[Array, "*batch logits"]
    ) -> Int32[Array, "*batch heads"]:
        """Draw one index for each head."""
        return sample(key, parameters, self.heads)

    def mode(
        self, parameters: Float[Array, "*batch logits"]
    ) -> Int32[Array, "*batch heads"]:
        """Return the most probable index of each head."""
        return mode(parameters, self.heads)

    def log_prob(
        self,
        parameters: Float[Array, "*batch logits"],
        action: Int[Array, "*batch heads"],
    ) -> Float[Array, "*batch"]:
        """Return the log-probability of the joint action."""
        return log_prob(parameters, action, self.heads)

    def entropy(
        self, parameters: Float[Array, "*batch logits"]
    ) -> Float[Array, "*batch"]:
        """Return the entropy in nats, summed over the heads."""
        return entropy(parameters, self.heads)

    def exploration_penalty(
        self, parameters: Float[Array, "*batch logits"], cap: float
    ) -> Float[Array, "*batch"]:
        """Return the symmetric KL divergence to uniform, at most `cap`."""
        return jnp.minimum(symmetric_kl_to_uniform(parameters, self.heads), cap)


class Mixed(NamedTuple):
    """Heads, perhaps none, and numbers; actions are float32, indices first.

    Parameters are the heads' logits, then the numbers' means, then the logarithms of
    their standard deviations.

    Attributes:
        heads: Number of choices of each head.
        continuous: How many numbers there are.
    """

    heads: Heads
    continuous: int

    def sample(
        self, key: Key[Array, ""], parameters: Float[Array, "*batch P"]
    ) -> Float32[Array, "*batch A"]:
        """Draw an action."""
        head_key, number_key = jax.random.split(key)
        logits, mean, log_std = self._split(parameters)
        noise = jax.random.normal(number_key, mean.shape, jnp.float32)
        numbers = mean + jnp.exp(log_std) * noise
        if not self.heads:
            return numbers
        return _row(sample(head_key, logits, self.heads), numbers)

    def mode(self, parameters: Float[Array, "*batch P"]) -> Float32[Array, "*batch A"]:
        """Return the most probable indices and the means."""
        logits, mean, _ = self._split(parameters)
        return _row(mode(logits, self.heads), mean) if self.heads else mean

    def log_prob(
        self, parameters: Float[Array, "*batch P"], action: Float[Array, "*batch A"]
    ) -> Float[Array, "*batch"]:
        """Return the log-density of the joint action."""
        logits, mean, log_std = self._split(parameters)
        distance = (action[..., len(self.heads) :] - mean) * jnp.exp(-log_std)
        density = (-0.5 * distance**2 - log_std - _LOG_SQRT_2PI).sum(-1)
        if not self.heads:
            return density
        indices = action[..., : len(self.heads)].astype(jnp.int32)
        return log_prob(logits, indices, self.heads) + density

    def entropy(self, parameters: Float[Array, "*batch P"]) -> Float[Array, "*batch"]:
        """Return the entropy in nats, of heads and numbers together."""
        logits, _, log_std = self._split(parameters)
        numbers = _gaussian_entropy(log_std)
        return numbers + entropy(logits, self.heads) if self.heads else numbers

    def exploration_penalty(
        self, parameters: Float[Array, "*batch P"], cap: float
    ) -> Float[Array, "*batch"]:
        """Return the heads' divergence, at most `cap`, less the numbers' entropy."""
        logits, _, log_std = self._split(parameters)
        numbers = -_gaussian_entropy(log_std)
        if not self.heads:
            return numbers
        return numbers + Categorical(self.heads).exploration_penalty(logits, cap)

    def _split(self, parameters: Array) -> tuple[Array, Array, Array]:
        """Return logits, means and logarithms of standard deviations."""
        start = sum(self.heads)
        middle = start + self.continuous
        if parameters.shape[-1] != middle + self.continuous:
            raise ValueError(
                f"{parameters.shape[-1]} parameters do not fit action heads "
                f"{self.heads} and {self.continuous} numbers, which need "
                f"{middle + self.continuous}"
            )
        log_std = jnp.clip(parameters[..., middle:], _MIN_LOG_STD, _MAX_LOG_STD)
        return parameters[..., :start], parameters[..., start:middle], log_std


def make(spec: ActionSpec) -> Distribution:
    """Return the distribution over the actions of a specification."""
    if spec.continuous:
        return Mixed(tuple(spec.heads), spec.continuous)
    return Categorical(tuple(spec.heads))


def _row(indices: Array, numbers: Array) -> Array:
    return jnp.concatenate([indices.astype(jnp.float32), numbers], axis=-1)


def _gaussian_entropy(log_std: Array) -> Array:
    return (log_std + (0.5 + _LOG_SQRT_2PI)).sum(-1)


def split_heads(
    logits: Float[Array, "*batch logits"], heads: Heads
) -> list[Float[Array, "*batch _"]]:
    """Cut concatenated logits into one array ``[..., n]`` for each head.

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
        key: A typed key, consumed here.
        logits: Concatenated logits of all heads.
        heads: Number of choices of each head.

    Returns:
        One index a head.
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


def symmetric_kl_to_uniform(
    logits: Float[Array, "*batch logits"], heads: Heads
) -> Float[Array, "*batch"]:
    """Return ``1/2 [KL(p||u) + KL(u||p)]`` of each head, summed over the heads.

    Unlike entropy it grows without bound as a choice's probability goes to 0, so
    that no action is ever given up for good. It is not capped here.
    """

    def one(log_p: Array) -> Array:
        # With u = 1/n both terms fold into one: 1/2 sum (p - u)(log p - log u).
        uniform = 1.0 / log_p.shape[-1]
        gap = log_p - math.log(uniform)
        return 0.5 * ((jnp.exp(log_p) - uniform) * gap).sum(-1)

    return _sum_over_heads(one, logits, heads)


def kl(
    old_logits: Float[Array, "*batch logits"],
    new_logits: Float[Array, "*batch logits"],
    heads: Heads,
) -> Float[Array, "*batch"]:
    """Return ``KL(old || new)`` in nats, summed over the heads."""
    pairs = zip(
        split_heads(old_logits, heads), split_heads(new_logits, heads), strict=True
    )

    def one(old: Array, new: Array) -> Array:
        old_log_p = jax.nn.log_softmax(old)
        return (jnp.exp(old_log_p) * (old_log_p - jax.nn.log_softmax(new))).sum(-1)

    return sum(one(old, new) for old, new in pairs)


def _sum_over_heads(
    function: Callable[[Array], Array], logits: Array, heads: Heads
) -> Array:
    parts = split_heads(logits, heads)
    return sum(function(jax.nn.log_softmax(part)) for part in parts)
