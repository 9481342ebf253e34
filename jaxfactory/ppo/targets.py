"""Quantities that an update computes from a rollout before its minibatches.

Statistics, advantages, value targets and importance weights.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxfactory.config.ppo import PPOConfig
from jaxfactory.distributed.devices import (
    ONE_DEVICE,
    ROLLOUT,
    SAME,
    TIME_ROWS,
    Devices,
)
from jaxfactory.distributed.reductions import WHOLE, Reductions
from jaxfactory.models import normalization
from jaxfactory.models.actor_critic import ActorCritic
from jaxfactory.models.normalization import Normalizer
from jaxfactory.ppo import finite
from jaxfactory.ppo.advantages import gae, vtrace
from jaxfactory.ppo.schedules import UNCHANGED, Scheduled
from jaxfactory.types import Metrics, Params, Rollout


# Upper bound of an importance weight: one sample of weight 100 would dominate its
# minibatch.
_MAX_WEIGHT = 2.0


class Targets(NamedTuple):
    """What the loss needs of each transition besides the rollout.

    Attributes:
        advantage: Advantage in the reward's units, not normalized.
        target: Value target, normalized.
        log_prob: Log-probability of the action under the proximal policy, the one that
            the ratio is clipped relative to.
        weight: Importance weight of the sample; 1 on-policy.
    """

    advantage: Float[Array, "T B"]
    target: Float[Array, "T B"]
    log_prob: Float[Array, "T B"]
    weight: Float[Array, "T B"]


@runtime_checkable
class Reevaluate(Protocol):
    """Computes the log-probability of a rollout's actions under other parameters."""

    def __call__(
        self, params: Params, normalizer: Normalizer, rollout: Rollout, parts: int
    ) -> Float[Array, "T B"]:
        """Evaluate the rollout's environments in `parts` equal parts, in turn."""


def make_reevaluate(network: ActorCritic, devices: Devices = ONE_DEVICE) -> Reevaluate:
    """Return the function that re-evaluates a rollout's actions.

    Args:
        network: The actor-critic.
        devices: Those that the rollout is split over.
    """

    def evaluate_part(
        params: Params, normalizer: Normalizer, rollout: Rollout
    ) -> Array:
        steps = slice(0, rollout.reward.shape[0])
        obs = jax.tree.map(lambda x: x[steps], rollout.obs)
        obs = network.normalize(obs, normalizer.obs)
        is_first = rollout.is_first[steps]
        logits, _, _ = network.unroll(params, obs, is_first, rollout.carry)
        return network.distribution.log_prob(logits, rollout.action)

    if devices.count > 1:
        evaluate_share = devices.program(
            evaluate_part, (SAME, SAME, ROLLOUT), TIME_ROWS
        )

        def reevaluate_shares(
            params: Params, normalizer: Normalizer, rollout: Rollout, parts: int
        ) -> Float[Array, "T B"]:
            del parts  # The devices' shares are small.
            return evaluate_share(params, normalizer, rollout)

        return reevaluate_shares
    evaluate_part = jax.jit(evaluate_part)

    def reevaluate(
        params: Params, normalizer: Normalizer, rollout: Rollout, parts: int
    ) -> Float[Array, "T B"]:
        size = rollout.reward.shape[1] // parts
        log_probs = []
        for index in range(parts):
            rows = slice(index * size, (index + 1) * size)
            log_probs.append(evaluate_part(params, normalizer, _rows(rollout, rows)))
        return jnp.concatenate(log_probs, -1)

    return reevaluate


def _rows(rollout: Rollout, rows: slice) -> Rollout:
    """Return some environments of a rollout."""
    flat = {"carry": rollout.carry, "bootstrap_value": rollout.bootstrap_value}
    rest = rollout._replace(carry=(), bootstrap_value=())
    return jax.tree.map(lambda x: x[:, rows], rest)._replace(
        **jax.tree.map(lambda x: x[rows], flat)
    )


# From statistics, a rollout and the proximal log-probabilities (None where the acting
# policy is the proximal one) to targets, updated statistics and metrics. The values of
# settings with a schedule may follow.
ComputeTargets = Callable[..., tuple[Targets, Normalizer, Metrics]]


def make_compute_targets(
    config: PPOConfig, frame_skip: int = 1, over: Reductions = WHOLE
) -> ComputeTargets:
    """Return the pure function that computes a rollout's targets.

    Args:
        config: Settings of the advantage estimator, the normalization and the
            objective.
        frame_skip: Frames per step of the rollout.
        over: Joins a rollout that is split over devices.
    """

    def compute_targets(
        normalizer: Normalizer,
        rollout: Rollout,
        proximal_log_prob: Array | None,
        scheduled: Scheduled = UNCHANGED,
    ) -> tuple[Targets, Normalizer, Metrics]:
        obs_stats, return_stats = normalizer
        # Game variables are always normalized: health is 100 at first.
        updated = obs_stats if config.normalize_obs else {normalization.VARIABLES}
        # obs[T] is the next rollout's obs[0], and counted there.
        obs = {name: x[:-1] for name, x in rollout.obs.items() if name in updated}
        # Pixels are finite, and their statistics the largest.
        obs_stats = {
            **obs_stats,
            **{
                name: new if name == "image" else finite.or_old(new, obs_stats[name])
                for name, new in normalization.update_obs(obs_stats, obs, over).items()
            },
        }
        units = return_stats if config.normalize_returns else None
        gamma = scheduled.get("gamma", config.gamma)
        value, advantage, returns = _estimate(
            rollout, proximal_log_prob, units, config, gamma
        )
        target = returns
        if config.normalize_returns:
            if config.return_memory:
                memory = config.return_memory / frame_skip
                return_stats = normalization.forget(
                    return_stats, returns.size * over.count, memory
                )
            updated = normalization.update(return_stats, returns, (0, 1), over)
            return_stats = finite.or_old(updated, return_stats)
            bound = config.return_bound
            target = normalization.normalize(returns, return_stats, bound)
        variance = jnp.maximum(over.var(returns), 1e-8)
        metrics = {
            "explained_variance": 1.0 - over.var(returns - value) / variance,
            "value_mean": over.mean(value),
            "return_mean": over.mean(returns),
            "return_std": over.std(returns),
            "advantage_std": over.std(advantage),
            "reward_mean": over.mean(jnp.asarray(rollout.reward)),
        }
        log_prob, weight = _proximal(rollout, proximal_log_prob, config.objective)
        targets = Targets(advantage, target, log_prob, weight)
        return targets, Normalizer(obs_stats, return_stats), metrics

    return compute_targets


def _proximal(
    rollout: Rollout, proximal_log_prob: Array | None, objective: str
) -> tuple[Array, Array]:
    """Return the log-probs that the ratio is relative to, and importance weights."""
    if proximal_log_prob is None or objective == "clipped":
        return rollout.log_prob, jnp.ones_like(rollout.log_prob)
    weight = jnp.exp(proximal_log_prob - rollout.log_prob)
    return proximal_log_prob, jnp.minimum(weight, _MAX_WEIGHT)


def _to_reward_units(value: Array, stats: Any, bound: float) -> Array:
    return value if stats is None else normalization.denormalize(value, stats, bound)


def _estimate(
    rollout: Rollout,
    proximal_log_prob: Array | None,
    units: Any,
    config: PPOConfig,
    gamma: float | Array,
) -> tuple[Array, Array, Array]:
    """Return values, advantages and value targets, in the reward's units."""
    terminated, truncated = rollout.terminated, rollout.truncated
    if not config.bootstrap_truncated:
        terminated, truncated = terminated | truncated, jnp.zeros_like(truncated)
    bound = config.return_bound
    value = _to_reward_units(rollout.value, units, bound)
    ends = (
        terminated,
        truncated,
        _to_reward_units(rollout.final_value, units, bound),
        _to_reward_units(rollout.bootstrap_value, units, bound),
    )
    weights = (gamma, config.gae_lambda)
    if config.advantages == "gae":
        return value, *gae(rollout.reward, value, *ends, *weights)
    log_ratio = jnp.zeros_like(rollout.log_prob)
    if proximal_log_prob is not None:
        log_ratio = proximal_log_prob - rollout.log_prob
    return value, *vtrace(rollout.reward, value, log_ratio, *ends, *weights)
