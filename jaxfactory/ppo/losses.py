"""The loss of proximal policy optimization (PPO).

Schulman et al., "Proximal Policy Optimization Algorithms" (arXiv:1707.06347), with
a clip range that is symmetric in the log-ratio, a clipped value loss and a choice of
exploration terms.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxfactory.config.ppo import PPOConfig
from jaxfactory.distributed.reductions import WHOLE, Reductions
from jaxfactory.models.actor_critic import ActorCritic
from jaxfactory.models.distributions import Distribution
from jaxfactory.models.normalization import Normalizer
from jaxfactory.ppo.schedules import UNCHANGED, Scheduled
from jaxfactory.types import Batch, Params


# The KL divergence to uniform is unbounded as an action's probability goes to zero;
# the penalty is capped here.
MAX_SYMMETRIC_KL = 30.0
_MIN_STD = 1e-7


class LossMetrics(NamedTuple):
    """Scalars of one minibatch.

    Attributes:
        loss: The total loss.
        policy_loss: Clipped surrogate, to be minimised.
        value_loss: ``mean(max((v - R)^2, (v_clipped - R)^2))``, before ``vf_coef``.
        exploration_loss: Exploration term, before ``ent_coef``.
        entropy: Entropy of the policy in nats, summed over heads.
        approx_kl: ``mean(ratio - 1 - log ratio)``, an estimate of KL(old || new) that
            is never negative (Schulman, http://joschu.net/blog/kl-approx.html).
        clip_fraction: Share of samples whose ratio is outside the clip range.
        ratio_max: Largest ratio of new to old probability.
    """

    loss: Float[Array, ""]
    policy_loss: Float[Array, ""]
    value_loss: Float[Array, ""]
    exploration_loss: Float[Array, ""]
    entropy: Float[Array, ""]
    approx_kl: Float[Array, ""]
    clip_fraction: Float[Array, ""]
    ratio_max: Float[Array, ""]


def normalize_advantage(
    advantage: Float[Array, "T E"],
    floor: float | Float[Array, ""] = _MIN_STD,
    over: Reductions = WHOLE,
) -> Float[Array, "T E"]:
    """Shift to mean 0 and scale to standard deviation 1 over the minibatch.

    Args:
        advantage: Advantages, in the reward's units.
        floor: Smallest divisor, greater than 0, in the same units. Where it exceeds the
            minibatch's standard deviation, the result has a smaller one than 1.
        over: Computes the minibatch's mean and standard deviation.
    """
    centered = advantage - over.mean(advantage)
    return centered / jnp.maximum(over.std(advantage), floor)


def advantage_floor(
    config: PPOConfig, normalizer: Normalizer
) -> float | Float[Array, ""]:
    """Return the smallest divisor of advantages.

    A multiple of the returns' running standard deviation, so that a minibatch without
    any event does not turn the critic's noise into advantages of unit variance. That of
    the advantages themselves would become the noise's own after a while without events;
    the returns' is also a part of every checkpoint.
    """
    if not config.advantage_floor:
        return _MIN_STD
    std = jnp.sqrt(normalizer.returns.var)
    return jnp.maximum(config.advantage_floor * std, _MIN_STD)


def policy_loss(
    ratio: Float[Array, "T E"],
    advantage: Float[Array, "T E"],
    weight: Float[Array, "T E"],
    clip_eps: float | Float[Array, ""],
) -> Float[Array, ""]:
    """Return the clipped surrogate.

    Args:
        ratio: Probability of the action divided by that under the proximal policy;
            clipped to ``[1/(1+eps), 1+eps]``.
        advantage: Advantage of the action.
        weight: Probability under the proximal policy divided by that under the policy
            that acted; 1 where they are the same.
        clip_eps: Size of the clip range.
    """
    clipped = jnp.clip(ratio, 1.0 / (1.0 + clip_eps), 1.0 + clip_eps)
    return -(weight * jnp.minimum(ratio * advantage, clipped * advantage)).mean()


def value_loss(
    value: Float[Array, "T E"],
    old_value: Float[Array, "T E"],
    target: Float[Array, "T E"],
    value_clip: float,
    weight: Float[Array, "T E"] | None = None,
) -> Float[Array, ""]:
    """Return the mean of the larger squared error, unclipped or clipped.

    Args:
        value: Prediction; like the other arguments, in normalized units.
        old_value: Prediction when acting.
        target: Return.
        value_clip: Largest change from `old_value` in the clipped error; 0 disables
            clipping.
        weight: Weights of the errors; None for equal ones.
    """
    error = (value - target) ** 2
    if value_clip:
        clipped = old_value + jnp.clip(value - old_value, -value_clip, value_clip)
        error = jnp.maximum(error, (clipped - target) ** 2)
    return error.mean() if weight is None else (weight * error).mean()


def capped_symmetric_kl(
    logits: Float[Array, "T E A"], distribution: Distribution
) -> Float[Array, ""]:
    """Return the mean symmetric KL to the uniform policy, capped for each sample.

    Continuous actions have no uniform policy; for them it is minus their entropy.
    """
    return distribution.exploration_penalty(logits, MAX_SYMMETRIC_KL).mean()


def negative_entropy(
    logits: Float[Array, "T E A"], distribution: Distribution
) -> Float[Array, ""]:
    """Return minus the mean entropy."""
    return -distribution.entropy(logits).mean()


EXPLORATION_LOSSES = {"symmetric_kl": capped_symmetric_kl, "entropy": negative_entropy}


def ppo_loss(
    params: Params,
    batch: Batch,
    *,
    network: ActorCritic,
    normalizer: Normalizer,
    config: PPOConfig,
    scheduled: Scheduled = UNCHANGED,
    over: Reductions = WHOLE,
) -> tuple[Float[Array, ""], LossMetrics]:
    """Run the network over a minibatch of whole chunks and return the loss.

    Args:
        params: Parameters, the argument to differentiate with respect to.
        batch: Minibatch, with observations as the environment returned them.
        network: The actor-critic.
        normalizer: Statistics to normalize the observations with.
        config: Coefficients of the loss.
        scheduled: Those coefficients that a schedule changes.
        over: Joins a minibatch that is split over devices. The loss is then the
            part's; the mean over the devices is the minibatch's.

    Returns:
        The loss and its parts.
    """
    clip_eps = scheduled.get("clip_eps", config.clip_eps)
    ent_coef = scheduled.get("ent_coef", config.ent_coef)
    obs = network.normalize(batch.obs, normalizer.obs)
    logits, value, _ = network.unroll(params, obs, batch.is_first, batch.carry)
    log_ratio = network.distribution.log_prob(logits, batch.action)
    log_ratio = log_ratio - batch.log_prob
    ratio = jnp.exp(log_ratio)
    floor = advantage_floor(config, normalizer)
    advantage = normalize_advantage(batch.advantage, floor, over)
    weight, drawn = batch.weight, batch.sampling_weight
    weight = weight if drawn is None else weight * drawn
    policy = policy_loss(ratio, advantage, weight, clip_eps)
    critic = value_loss(value, batch.value, batch.target, config.value_clip, drawn)
    exploration = EXPLORATION_LOSSES[config.exploration](logits, network.distribution)
    # Schulman's estimate, whose gradient is zero where the policies agree.
    approx_kl = (ratio - 1.0 - log_ratio).mean()
    loss = policy + config.vf_coef * critic + ent_coef * exploration
    if config.balance_coef or "balance_coef" in config.schedules:
        balance = network.distribution.balance(logits, over)
        loss = loss - scheduled.get("balance_coef", config.balance_coef) * balance
    if config.kl_coef:
        loss = loss + config.kl_coef * approx_kl
    outside = jnp.abs(log_ratio) > jnp.log1p(clip_eps)
    return loss, LossMetrics(
        loss=loss,
        policy_loss=policy,
        value_loss=critic,
        exploration_loss=exploration,
        entropy=network.distribution.entropy(logits).mean(),
        approx_kl=approx_kl,
        clip_fraction=outside.astype(jnp.float32).mean(),
        ratio_max=over.max(ratio),
    )
