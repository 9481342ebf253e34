"""Action distributions: categorical heads, continuous numbers, or both.

Numbers follow a diagonal Gaussian whose means and log standard deviations come after
the heads' logits. Samples are unbounded, and their log-probability is that of the
unbounded sample; whoever executes the action clips it to its bounds.

`make` returns the distribution for an `ActionSpec`.
"""

import math
from typing import NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Float32, Int, Int32, Key

from jaxfactory.distributed.reductions import WHOLE, Reductions
from jaxfactory.models import categorical
from jaxfactory.models.categorical import Heads
from jaxfactory.spec import ActionSpec


_LOG_SQRT_2PI = 0.5 * math.log(2.0 * math.pi)
# Bounds of the log standard deviation: of 0.007 and 7.4.
_MIN_LOG_STD, _MAX_LOG_STD = -5.0, 2.0


@runtime_checkable
class Distribution(Protocol):
    """A distribution over actions, parameterised by the network's outputs.

    Parameters are ``[..., P]``, actions ``[..., A]``, all other results ``[...]``.
    """

    def sample(self, key: Key[Array, ""], parameters: Array) -> Array:
        """Draw an action; do not use the key again."""

    def mode(self, parameters: Array) -> Array:
        """Return the most probable action."""

    def log_prob(self, parameters: Array, action: Array) -> Array:
        """Return the action's log-probability, or log-density if it has numbers."""

    def entropy(self, parameters: Array) -> Array:
        """Return the entropy in nats."""

    def balance(self, parameters: Array, over: Reductions = WHOLE) -> Array:
        """Return the entropy of the heads' mean probabilities over the batch, ``[]``.

        Numbers add nothing.
        """

    def exploration_penalty(self, parameters: Array, cap: float) -> Array:
        """Return the exploration term of the loss; lower means more exploration.

        For heads, it is the symmetric KL divergence to the uniform distribution, summed
        over the heads and at most `cap`. For numbers, which have no uniform
        distribution, it is the negative entropy.
        """


class Categorical(NamedTuple):
    """Independent heads only; actions are int32.

    Attributes:
        heads: Number of choices of each.
    """

    heads: Heads

    def sample(
        self, key: Key[Array, ""], parameters: Float[Array, "*batch logits"]
    ) -> Int32[Array, "*batch heads"]:
        """Draw one index for each head."""
        return categorical.sample(key, parameters, self.heads)

    def mode(
        self, parameters: Float[Array, "*batch logits"]
    ) -> Int32[Array, "*batch heads"]:
        """Return the most probable index of each head."""
        return categorical.mode(parameters, self.heads)

    def log_prob(
        self,
        parameters: Float[Array, "*batch logits"],
        action: Int[Array, "*batch heads"],
    ) -> Float[Array, "*batch"]:
        """Return the log-probability of the joint action."""
        return categorical.log_prob(parameters, action, self.heads)

    def entropy(
        self, parameters: Float[Array, "*batch logits"]
    ) -> Float[Array, "*batch"]:
        """Return the entropy in nats, summed over the heads."""
        return categorical.entropy(parameters, self.heads)

    def balance(
        self, parameters: Float[Array, "*batch logits"], over: Reductions = WHOLE
    ) -> Float[Array, ""]:
        """Return the entropy of the mean probabilities over the batch, in nats."""
        return categorical.entropy_of_mean(parameters, self.heads, over)

    def exploration_penalty(
        self, parameters: Float[Array, "*batch logits"], cap: float
    ) -> Float[Array, "*batch"]:
        """Return the symmetric KL divergence to uniform, at most `cap`."""
        return jnp.minimum(
            categorical.symmetric_kl_to_uniform(parameters, self.heads), cap
        )


class Mixed(NamedTuple):
    """Numbers, and heads if there are any; actions are float32, indices first.

    Parameters are the heads' logits, then the means of the numbers, then their log
    standard deviations.

    Attributes:
        heads: Number of choices of each head.
        continuous: Number of continuous components.
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
        return _row(categorical.sample(head_key, logits, self.heads), numbers)

    def mode(self, parameters: Float[Array, "*batch P"]) -> Float32[Array, "*batch A"]:
        """Return the most probable indices and the means."""
        logits, mean, _ = self._split(parameters)
        return _row(categorical.mode(logits, self.heads), mean) if self.heads else mean

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
        return categorical.log_prob(logits, indices, self.heads) + density

    def entropy(self, parameters: Float[Array, "*batch P"]) -> Float[Array, "*batch"]:
        """Return the entropy in nats, summed over heads and numbers."""
        logits, _, log_std = self._split(parameters)
        numbers = _gaussian_entropy(log_std)
        return (
            numbers + categorical.entropy(logits, self.heads) if self.heads else numbers
        )

    def balance(
        self, parameters: Float[Array, "*batch P"], over: Reductions = WHOLE
    ) -> Float[Array, ""]:
        """Return the entropy of the heads' mean probabilities; 0 without heads."""
        if not self.heads:
            return jnp.zeros(())
        logits, _, _ = self._split(parameters)
        return categorical.entropy_of_mean(logits, self.heads, over)

    def exploration_penalty(
        self, parameters: Float[Array, "*batch P"], cap: float
    ) -> Float[Array, "*batch"]:
        """Return the heads' divergence, at most `cap`, minus the numbers' entropy."""
        logits, _, log_std = self._split(parameters)
        numbers = -_gaussian_entropy(log_std)
        if not self.heads:
            return numbers
        return numbers + Categorical(self.heads).exploration_penalty(logits, cap)

    def _split(self, parameters: Array) -> tuple[Array, Array, Array]:
        """Return logits, means and log standard deviations."""
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
    """Return the distribution over the actions of an `ActionSpec`."""
    if spec.continuous:
        return Mixed(tuple(spec.heads), spec.continuous)
    return Categorical(tuple(spec.heads))


def _row(indices: Array, numbers: Array) -> Array:
    return jnp.concatenate([indices.astype(jnp.float32), numbers], axis=-1)


def _gaussian_entropy(log_std: Array) -> Array:
    return (log_std + (0.5 + _LOG_SQRT_2PI)).sum(-1)
