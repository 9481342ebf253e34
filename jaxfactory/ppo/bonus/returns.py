"""Scaled bonuses, their returns and their advantages, for each kind of bonus.

A kind has its own scale, its own value function and its own statistics of returns: K
kinds are the last axis of all arrays here.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from jaxfactory.models import normalization
from jaxfactory.models.normalization import RunningStats
from jaxfactory.ppo.advantages import gae


class BonusStats(NamedTuple):
    """What is remembered of earlier bonuses.

    Attributes:
        sums: Discounted sum of the bonuses of each environment so far.
        scale: Statistics of these sums, which bonuses are divided by.
        returns: Statistics of the returns of scaled bonuses, the value targets.
    """

    sums: Float[Array, "B K"]
    scale: RunningStats
    returns: RunningStats


class BonusTargets(NamedTuple):
    """What is learned from a rollout's bonuses.

    Attributes:
        bonus: Scaled bonuses.
        advantage: Their advantages, summed over kinds.
        target: Normalized value targets.
        explained_variance: 1 if the values predict the returns exactly.
    """

    bonus: Float[Array, "T B K"]
    advantage: Float[Array, "T B"]
    target: Float[Array, "T B K"]
    explained_variance: Float[Array, ""]


def fresh_stats(size: int) -> RunningStats:
    """Return statistics of vectors that the first rollout decides alone.

    The variance of bonuses may be far below the 1 that other statistics start with.
    """
    return normalization.init((size,))._replace(count=jnp.float32(1e-4))


def init_stats(num_envs: int, kinds: int) -> BonusStats:
    """Return the statistics before the first bonus."""
    fresh = fresh_stats(kinds)
    sums = jnp.zeros((num_envs, kinds), jnp.float32)
    return BonusStats(sums=sums, scale=fresh, returns=fresh)


def discounted_sums(
    bonus: Float[Array, "T B K"],
    restarts: Bool[Array, "T B K"],
    sums: Float[Array, "B K"],
    gamma: float,
) -> Float[Array, "T B K"]:
    """Return ``sums[t] = bonus[t] + gamma * sums[t-1]``, from 0 where it restarts."""

    def step(before: Array, xs: tuple[Array, Array]) -> tuple[Array, Array]:
        one, restart = xs
        after = one + gamma * jnp.where(restart, 0.0, before)
        return after, after

    return lax.scan(step, sums, (bonus, restarts))[1]


def bonus_targets(
    bonus: Float[Array, "T B K"],
    value: Float[Array, "T+1 B K"],
    ends: Bool[Array, "T B K"],
    stats: BonusStats,
    *,
    gamma: float,
    gae_lambda: float,
) -> tuple[BonusTargets, BonusStats]:
    """Estimate what to learn from a rollout's bonuses.

    Args:
        bonus: Raw bonuses.
        value: Normalized values of all observations.
        ends: Where an episode ends whose end the kind's returns know. There is no
            bonus after it, be it terminated or truncated.
        stats: Those before this rollout.
        gamma: Discount factor of bonuses.
        gae_lambda: Lambda of generalized advantage estimation.
    """
    # The bonus of an episode's last step is 0: its next observation is another's.
    sums = discounted_sums(bonus, ends, stats.sums, gamma)
    scale = normalization.update(stats.scale, sums, (0, 1))
    scaled = bonus * jnp.broadcast_to(lax.rsqrt(scale.var + 1e-8), bonus.shape)
    values = normalization.denormalize(value, stats.returns)
    none = jnp.zeros(ends.shape[:2], bool)

    def one(bonus: Array, values: Array, ends: Array) -> tuple[Array, Array]:
        zeros = jnp.zeros_like(bonus)
        tail = (zeros, values[-1], gamma, gae_lambda)
        return gae(bonus, values[:-1], ends, none, *tail)

    advantage, returns = jax.vmap(one, in_axes=-1, out_axes=-1)(scaled, values, ends)
    after = normalization.update(stats.returns, returns, (0, 1))
    variance = jnp.maximum(returns.var((0, 1)), 1e-8)
    residual = (returns - values[:-1]).var((0, 1))
    targets = BonusTargets(
        bonus=scaled,
        advantage=advantage.sum(-1),
        target=normalization.normalize(returns, after),
        explained_variance=(1.0 - residual / variance).mean(),
    )
    return targets, BonusStats(sums[-1], scale, after)
