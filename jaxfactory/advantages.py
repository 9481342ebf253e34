"""Generalised advantage estimation, and nothing else."""

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
    gamma: float,
    gae_lambda: float,
) -> tuple[Float[Array, "T B"], Float[Array, "T B"]]:
    """Estimate advantages and the value function's targets.

    Equations 11 and 16 of Schulman et al., "High-Dimensional Continuous Control
    Using Generalized Advantage Estimation" (arXiv:1506.02438):

        delta[t] = reward[t] + gamma * next_value[t] - value[t]
        advantage[t] = delta[t] + gamma * lambda * (episode goes on) * advantage[t+1]

    where ``next_value[t]`` is 0 if the step terminated its episode, `final_value[t]`
    if it was truncated and ``value[t+1]`` otherwise. Either end cuts the sum, because
    what follows belongs to the next episode.

    Args:
        reward: Reward of each step.
        value: Value of each observation, in the reward's units, not normalised.
        terminated: Whether the step ended its episode in a terminal state; this
            wins where both flags are set.
        truncated: Whether the step's episode was cut.
        final_value: Value of the observation that ended the episode; read only where
            `truncated`.
        bootstrap_value: Value of the observation after the last step.
        gamma: Discount.
        gae_lambda: Weight of longer estimates.

    Returns:
        ``(advantage, target)``; the target is advantage plus value.
    """
    following = jnp.concatenate([value[1:], bootstrap_value[None]])
    next_value = jnp.where(truncated, final_value, following)
    next_value = jnp.where(terminated, 0.0, next_value)
    delta = reward + gamma * next_value - value
    decay = jnp.where(terminated | truncated, 0.0, gamma * gae_lambda)

    def backwards(carry: Array, step: tuple[Array, Array]) -> tuple[Array, Array]:
        step_delta, step_decay = step
        advantage = step_delta + step_decay * carry
        return advantage, advantage

    start = jnp.zeros_like(bootstrap_value)
    _, advantage = lax.scan(backwards, start, (delta, decay), reverse=True)
    return advantage, advantage + value
