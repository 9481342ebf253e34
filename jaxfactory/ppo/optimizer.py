"""The optimizer, and the schedule of its learning rate over a training run."""

from typing import Any

import optax
from jaxtyping import Array, Float

from jaxfactory.config.ppo import PPOConfig


# A decay starts halfway through the run and ends at a tenth of the learning rate.
_DECAY_STARTS = 0.5
_FINAL_SHARE = 0.1


def make_optimizer(config: PPOConfig) -> optax.GradientTransformation:
    """Return Adam, with the gradient clipped by its global norm.

    The learning rate is part of the optimizer's state, 0 until `with_learning_rate`
    sets it: it depends on the length of the run, which may change when it is resumed.

    Args:
        config: Supplies ``adam_betas``, ``adam_eps`` and ``max_grad_norm``.
    """
    clip = optax.clip_by_global_norm(config.max_grad_norm)
    scale = optax.inject_hyperparams(optax.scale_by_learning_rate)
    return optax.chain(
        clip if config.max_grad_norm else optax.identity(),
        optax.scale_by_adam(*config.adam_betas, eps=config.adam_eps),
        scale(learning_rate=0.0),
    )


def with_learning_rate(opt_state: Any, learning_rate: Float[Array, ""]) -> Any:
    """Return the state of a `make_optimizer` with another learning rate.

    Called inside the jitted step, where it costs nothing.
    """
    return optax.tree_utils.tree_set(opt_state, learning_rate=learning_rate)


def learning_rate_at(config: PPOConfig, progress: float) -> float:
    """Return the learning rate at a share of the training run, from 0 to 1."""
    if schedule := config.schedules.get("learning_rate"):
        return schedule.at(config.learning_rate, progress)
    if config.lr_schedule == "constant":
        return config.learning_rate
    decayed = (min(progress, 1.0) - _DECAY_STARTS) / (1.0 - _DECAY_STARTS)
    return config.learning_rate * (1.0 - (1.0 - _FINAL_SHARE) * max(decayed, 0.0))
