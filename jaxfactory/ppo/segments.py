"""Segments: parts of a rollout that gradients of the recurrent core do not leave.

A rollout of T steps of B environments has S segments of each environment, with T / S
steps. They are rows of one axis: row ``s B + b`` is segment s of environment b.
"""

from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int32, Key

from jaxfactory.config.ppo import PPOConfig
from jaxfactory.models.actor_critic import ActorCritic
from jaxfactory.models.normalization import Normalizer
from jaxfactory.types import Batch, Carry, Params


# Added to the probability of a segment without any advantage.
_SMALLEST = 1e-6


def probabilities(
    advantage: Float[Array, "T B"], num_segments: int, alpha: float
) -> Float[Array, "rows"]:
    """Return the probability of drawing each segment.

    In proportion to the sum of the absolute advantages to the power of alpha, as in
    prioritized experience replay (Schaul et al., arXiv:1511.05952, equation 1), whose
    priorities are absolute errors of single transitions. Without any advantage they
    are uniform.

    Args:
        advantage: Advantages of the rollout.
        num_segments: Segments of each environment, S.
        alpha: How much the priorities count; 0 gives uniform probabilities.
    """
    num_envs = advantage.shape[1]
    parts = jnp.abs(advantage).reshape(num_segments, -1, num_envs)
    priority = parts.sum(1).reshape(-1) ** alpha
    share = priority / jnp.maximum(priority.sum(), 1e-30)
    share = share + _SMALLEST / share.size
    return share / share.sum()


def sampling_weights(
    probability: Float[Array, "rows"], beta: float | Float[Array, ""]
) -> Float[Array, "rows"]:
    """Return ``(rows * probability)^-beta``, section 3.4 of the same paper.

    They are not divided by the largest: with beta 1, weighted means over draws are then
    on average those over all segments.
    """
    return (probability * probability.size) ** -beta


def draw(
    key: Key[Array, ""], probability: Float[Array, "rows"], count: int, size: int
) -> tuple[Int32[Array, "size"], ...]:
    """Draw `count` minibatches of `size` rows each, with replacement."""
    rows = jax.random.choice(
        key, probability.size, (count, size), replace=True, p=probability
    )
    return tuple(rows.astype(jnp.int32))


def per_step(
    weight: Float[Array, "rows"], num_envs: int, num_steps: int
) -> Float[Array, "T B"]:
    """Return each segment's weight at each of its steps."""
    weight = weight.reshape(-1, num_envs)
    return jnp.repeat(weight, num_steps // weight.shape[0], axis=0)


def select_segments(batch: Batch, rows: Int32[Array, "E"], segment_steps: int) -> Batch:
    """Return the given segments as chunks.

    Args:
        batch: All environments; the carry's leaves are ``[S, B, features]``.
        rows: Indices of segments.
        segment_steps: Steps of a segment.
    """
    num_envs = batch.advantage.shape[1]
    segment, env = rows // num_envs, rows % num_envs
    steps = jnp.arange(segment_steps, dtype=rows.dtype)
    times = steps[:, None] + segment[None] * segment_steps
    env_of = jnp.broadcast_to(env[None], times.shape)
    carry = jax.tree.map(lambda x: x[segment, env], batch.carry)
    rest = jax.tree.map(lambda x: x[times, env_of], batch._replace(carry=()))
    return rest._replace(carry=carry)


def stacked_carry(carry: Carry, segment_carry: Carry) -> Carry:
    """Return the carry of every segment, leaves ``[S, B, features]``.

    Args:
        carry: Of the first segment.
        segment_carry: Of the others, leaves ``[S-1, B, features]``; () if there are
            none.
    """
    first = jax.tree.map(lambda x: jnp.asarray(x)[None], carry)
    if isinstance(segment_carry, tuple) and not segment_carry:
        return first
    return jax.tree.map(lambda *x: jnp.concatenate(x), first, segment_carry)


@runtime_checkable
class Refresh(Protocol):
    """Computes the carry of every segment with other parameters."""

    def __call__(
        self, params: Params, normalizer: Normalizer, batch: Batch, parts: int
    ) -> Carry:
        """Evaluate the environments in `parts` equal parts, in turn."""


def make_refresh(network: ActorCritic, config: PPOConfig) -> Refresh:
    """Return the function that replaces stored carries.

    It steps through the rollout from the carry of the first segment, which cannot be
    computed anew: the observations before it are gone.
    """
    steps = config.segment_steps

    @jax.jit
    def refresh_part(
        params: Params, normalizer: Normalizer, batch: Batch, envs: Array
    ) -> Carry:
        carry = jax.tree.map(lambda x: x[0, envs], batch.carry)
        carries = [carry]
        for start in range(0, config.num_steps - steps, steps):
            part = slice(start, start + steps)
            obs = jax.tree.map(lambda x, part=part: x[part][:, envs], batch.obs)
            obs = network.normalize(obs, normalizer.obs)
            is_first = batch.is_first[part][:, envs]
            carry = network.unroll(params, obs, is_first, carry)[2]
            carries.append(carry)
        return jax.tree.map(lambda *x: jnp.stack(x), *carries)

    def refresh(
        params: Params, normalizer: Normalizer, batch: Batch, parts: int
    ) -> Carry:
        every = jnp.arange(batch.advantage.shape[1], dtype=jnp.int32)
        found = [
            refresh_part(params, normalizer, batch, envs)
            for envs in jnp.split(every, parts)
        ]
        return jax.tree.map(lambda *x: jnp.concatenate(x, 1), *found)

    return refresh
