"""What an update computes once from a rollout, before its minibatches.

Statistics, advantages, value targets, importance weights, and the minibatches' rows.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int32, Key

from jaxfactory.config.train import PPOConfig
from jaxfactory.models import normalization
from jaxfactory.models.actor_critic import ActorCritic
from jaxfactory.models.normalization import Normalizer
from jaxfactory.ppo.advantages import gae, vtrace
from jaxfactory.types import Metrics, Params, Rollout


# A sample that the acting policy thought unlikely counts this often at most: one that
# weighed 100 would be all that the minibatch learns from.
_MAX_WEIGHT = 2.0


class Prepared(NamedTuple):
    """What the minibatches of an update have in common.

    Attributes:
        normalizer: Statistics that include the rollout.
        advantage: In the reward's units.
        target: Of the value, normalised.
        log_prob: Of the actions, under the policy that the clip holds on to.
        weight: Importance of each sample, 1 on-policy.
        step: Updates made, this one included.
        key: Of the next update.
        permutations: Environments int32 ``[E]``, by epoch and minibatch.
        metrics: What is known before the first minibatch.
    """

    normalizer: Normalizer
    advantage: Float[Array, "T B"]
    target: Float[Array, "T B"]
    log_prob: Float[Array, "T B"]
    weight: Float[Array, "T B"]
    step: Int32[Array, ""]
    key: Key[Array, ""]
    permutations: tuple[tuple[Int32[Array, "E"], ...], ...]
    metrics: Metrics


def make_reevaluate(network: ActorCritic) -> Callable[..., Float[Array, "T B"]]:
    """Return a function that says how likely other parameters hold a rollout's actions.

    It runs the network over some rows at a time.
    """

    @jax.jit
    def part(params: Params, normalizer: Normalizer, rollout: Rollout) -> Array:
        steps = slice(0, rollout.reward.shape[0])
        obs = jax.tree.map(lambda x: x[steps], rollout.obs)
        obs = normalization.normalize_obs(obs, normalizer.obs)
        is_first = rollout.is_first[steps]
        logits, _, _ = network.unroll(params, obs, is_first, rollout.carry)
        return network.distribution.log_prob(logits, rollout.action)

    def reevaluate(
        params: Params, normalizer: Normalizer, rollout: Rollout, parts: int
    ) -> Float[Array, "T B"]:
        size = rollout.reward.shape[1] // parts
        found = []
        for index in range(parts):
            rows = slice(index * size, (index + 1) * size)
            found.append(part(params, normalizer, _rows(rollout, rows)))
        return jnp.concatenate(found, -1)

    return reevaluate


def _rows(rollout: Rollout, rows: slice) -> Rollout:
    """Return some environments of a rollout."""
    flat = {"carry": rollout.carry, "bootstrap_value": rollout.bootstrap_value}
    rest = rollout._replace(carry=(), bootstrap_value=())
    return jax.tree.map(lambda x: x[:, rows], rest)._replace(
        **jax.tree.map(lambda x: x[rows], flat)
    )


def make_prepare(config: PPOConfig) -> Callable[..., Prepared]:
    """Return the jitted first part of an update: statistics, advantages, targets."""

    @jax.jit
    def prepare(
        normalizer: Normalizer,
        rollout: Rollout,
        step: Array,
        key: Array,
        current: Array | None = None,
    ) -> Prepared:
        key, shuffle_key = jax.random.split(key)
        obs_stats, return_stats = normalizer
        if config.normalize_obs:
            # obs[T] is the next rollout's obs[0], and counted there.
            obs = jax.tree.map(lambda x: x[:-1], rollout.obs)
            obs_stats = normalization.update_obs(obs_stats, obs)
        units = return_stats if config.normalize_returns else None
        value, advantage, returns = _estimate(rollout, current, units, config)
        target = returns
        if config.normalize_returns:
            return_stats = normalization.update(return_stats, returns, (0, 1))
            target = normalization.normalize(returns, return_stats)
        variance = jnp.maximum(returns.var(), 1e-8)
        metrics = {
            "explained_variance": 1.0 - (returns - value).var() / variance,
            "value_mean": value.mean(),
            "return_mean": returns.mean(),
            "return_std": returns.std(),
            "advantage_std": advantage.std(),
            "reward_mean": rollout.reward.mean(),
        }
        return Prepared(
            normalizer=Normalizer(obs_stats, return_stats),
            advantage=advantage,
            target=target,
            **_proximal(rollout, current, config),
            step=step + 1,
            key=key,
            permutations=permutations(shuffle_key, rollout.reward.shape[1], config),
            metrics=metrics,
        )

    return prepare


def _proximal(
    rollout: Rollout, current: Array | None, config: PPOConfig
) -> dict[str, Array]:
    """Return the log-probs that the clip holds on to, and importance weights."""
    if current is None or config.objective == "clipped":
        weight = jnp.ones_like(rollout.log_prob)
        return {"log_prob": rollout.log_prob, "weight": weight}
    weight = jnp.exp(current - rollout.log_prob)
    return {"log_prob": current, "weight": jnp.minimum(weight, _MAX_WEIGHT)}


def _to_reward_units(value: Array, stats: Any) -> Array:
    return value if stats is None else normalization.denormalize(value, stats)


def _estimate(
    rollout: Rollout, current: Array | None, units: Any, config: PPOConfig
) -> tuple[Array, Array, Array]:
    """Return values, advantages and value targets, in the reward's units."""
    terminated, truncated = rollout.terminated, rollout.truncated
    if not config.bootstrap_truncated:
        terminated, truncated = terminated | truncated, jnp.zeros_like(truncated)
    value = _to_reward_units(rollout.value, units)
    ends = (
        terminated,
        truncated,
        _to_reward_units(rollout.final_value, units),
        _to_reward_units(rollout.bootstrap_value, units),
    )
    weights = (config.gamma, config.gae_lambda)
    if config.advantages == "gae":
        return value, *gae(rollout.reward, value, *ends, *weights)
    assert current is not None
    log_ratio = current - rollout.log_prob
    return value, *vtrace(rollout.reward, value, log_ratio, *ends, *weights)


def permutations(key: Array, num_envs: int, config: PPOConfig) -> Any:
    """Return environment indices int32 ``[E]``, nested by epoch and minibatch."""
    keys = jax.random.split(key, config.num_epochs)
    shuffled = [jax.random.permutation(epoch_key, num_envs) for epoch_key in keys]
    return tuple(tuple(jnp.split(p, config.num_minibatches)) for p in shuffled)
