"""Advantage estimators: generalized advantage estimation and V-trace."""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float


def gae(
    reward: Float[Array, "T B"],
    value: Float[Array, "T B"],
    terminated: Bool[Array, "T B"],
    truncated: Bool[Array, "T B"],
    final_value: Float[Array, "T B"],
    bootstrap_value: Float[Array, "B"],
    gamma: float | Float[Array, ""],
    gae_lambda: float,
) -> tuple[Float[Array, "T B"], Float[Array, "T B"]]:
    """Estimate advantages and value targets.

    Equations 11 and 16 of Schulman et al., "High-Dimensional Continuous Control
    Using Generalized Advantage Estimation" (arXiv:1506.02438):

        delta[t] = reward[t] + gamma * next_value[t] - value[t]
        advantage[t] = delta[t] + gamma * lambda * (episode continues) * advantage[t+1]

    where ``next_value[t]`` is 0 if the step terminated its episode, `final_value[t]`
    if it was truncated and ``value[t+1]`` otherwise. Either end of an episode cuts the
    sum, because the next step belongs to the next episode.

    Args:
        reward: Reward of each step.
        value: Value of each observation, in the reward's units, not normalized.
        terminated: Whether the step ended its episode in a terminal state; takes
            precedence where both flags are set.
        truncated: Whether the step's episode was truncated.
        final_value: Value of the observation that ended the episode; read only where
            `truncated`.
        bootstrap_value: Value of the observation after the last step.
        gamma: Discount factor.
        gae_lambda: GAE's lambda; larger values give longer estimates more weight.

    Returns:
        ``(advantage, target)``; the target is advantage plus value.
    """
    next_value = _next_values(
        value, terminated, truncated, final_value, bootstrap_value
    )
    delta = reward + gamma * next_value - value
    decay = jnp.where(terminated | truncated, 0.0, gamma * gae_lambda)

    advantage = _discounted_sums(delta, decay)
    return advantage, advantage + value


def vtrace(
    reward: Float[Array, "T B"],
    value: Float[Array, "T B"],
    log_ratio: Float[Array, "T B"],
    terminated: Bool[Array, "T B"],
    truncated: Bool[Array, "T B"],
    final_value: Float[Array, "T B"],
    bootstrap_value: Float[Array, "B"],
    gamma: float | Float[Array, ""],
    trace_lambda: float,
) -> tuple[Float[Array, "T B"], Float[Array, "T B"]]:
    """Estimate advantages and value targets from off-policy actions.

    Section 4.1 and remark 2 of Espeholt et al., "IMPALA" (arXiv:1802.01561), with both
    truncation levels at 1. With ``rho[t] = min(1, exp(log_ratio[t]))``:

        target[t] = value[t] + rho[t] * delta[t]
                    + gamma * lambda * rho[t] * (target[t+1] - value[t+1])
        advantage[t] = reward[t] + gamma * next_target[t] - value[t]

    Both ends of an episode are treated as in `gae`. The advantage has no factor rho,
    because the loss already contains the ratio of the two policies. Without lag and
    with lambda 1, the targets equal those of `gae`.

    Args:
        reward: Reward of each step.
        value: Value of each observation, as in `gae` under the parameters that acted.
            Newer parameters would evaluate it with a recurrent state that is not their
            own, and their errors would feed back into the targets.
        log_ratio: Log-probability of each action under the policy being trained, minus
            that under the policy that acted.
        terminated: See `gae`.
        truncated: See `gae`.
        final_value: See `gae`.
        bootstrap_value: See `gae`.
        gamma: Discount factor.
        trace_lambda: Weight of longer traces.

    Returns:
        ``(advantage, target)``.
    """
    ends = (terminated, truncated, final_value)
    rho = jnp.minimum(1.0, jnp.exp(log_ratio))
    next_value = _next_values(value, *ends, bootstrap_value)
    delta = rho * (reward + gamma * next_value - value)
    decay = jnp.where(terminated | truncated, 0.0, gamma * trace_lambda * rho)
    target = value + _discounted_sums(delta, decay)
    next_target = _next_values(target, *ends, bootstrap_value)
    return reward + gamma * next_target - value, target


def _next_values(
    value: Array,
    terminated: Array,
    truncated: Array,
    final_value: Array,
    bootstrap_value: Array,
) -> Array:
    following = jnp.concatenate([value[1:], bootstrap_value[None]])
    next_value = jnp.where(truncated, final_value, following)
    return jnp.where(terminated, 0.0, next_value)


def _discounted_sums(delta: Array, decay: Array) -> Array:
    """Return ``sums[t] = delta[t] + decay[t] * sums[t+1]``, backwards."""

    def backwards(carry: Array, step: tuple[Array, Array]) -> tuple[Array, Array]:
        step_delta, step_decay = step
        total = step_delta + step_decay * carry
        return total, total

    _, sums = lax.scan(
        backwards, jnp.zeros_like(delta[0]), (delta, decay), reverse=True
    )
    return sums
