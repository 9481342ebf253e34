"""The optimizer, and the schedule of its learning rate over a training run."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from jaxfactory.config.ppo import PPOConfig
from jaxfactory.types import Params


# A decay starts halfway through the run and ends at a tenth of the learning rate.
_DECAY_STARTS = 0.5
_FINAL_SHARE = 0.1
# Change of a learning rate that follows the KL divergence.
_KL_FACTOR = 1.5


def make_optimizer(config: PPOConfig) -> optax.GradientTransformation:
    """Return Adam, with the gradient clipped by its global norm.

    The learning rate is part of the optimizer's state, 0 until `with_learning_rate`
    sets it: it depends on the length of the run, which may change when it is resumed.
    With ``kl_target`` the state's rate is that of the next update, so a checkpoint
    contains it.

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

    Inside the jitted step this costs nothing.
    """
    return optax.tree_utils.tree_set(opt_state, learning_rate=learning_rate)


def apply_gradients(
    optimizer: optax.GradientTransformation,
    params: Params,
    opt_state: Any,
    grads: Params,
    learning_rate: Float[Array, ""],
) -> tuple[Params, Any]:
    """Return parameters and state after a step of a `make_optimizer`, inside jit."""
    opt_state = with_learning_rate(opt_state, learning_rate)
    # optax raises a float to an integer power, which strict promotion forbids.
    with jax.numpy_dtype_promotion("standard"):
        updates, opt_state = optimizer.update(grads, opt_state, params)
    return optax.apply_updates(params, updates), opt_state


@jax.jit
def _positive_or(rate: Array, other: Array) -> Array:
    return jnp.where(rate > 0.0, rate, other)


def last_learning_rate(opt_state: Any, first: Float[Array, ""]) -> Float[Array, ""]:
    """Return the learning rate in a state of a `make_optimizer`, on the device.

    Args:
        opt_state: The optimizer's state.
        first: What to return before the first update.
    """
    rate = optax.tree_utils.tree_get(opt_state, "learning_rate")
    return _positive_or(rate, first)


@functools.partial(jax.jit, static_argnames="config")
def adapted(
    learning_rate: Float[Array, ""], kl: Float[Array, ""], config: PPOConfig
) -> Float[Array, ""]:
    """Return the learning rate for the next update, from the KL divergence of the last.

    The rule of Schulman's and of Sample Factory's PPO, which keeps the policy's change
    per update near a target. Nothing is fetched from the device.

    Args:
        learning_rate: The rate of the last update.
        kl: KL divergence of the policies before and after it.
        config: Supplies ``kl_target`` and ``kl_lr_range``.
    """
    low, high = config.kl_lr_range
    lower = jnp.where(kl > 2.0 * config.kl_target, 1.0 / _KL_FACTOR, 1.0)
    factor = jnp.where(kl < 0.5 * config.kl_target, _KL_FACTOR, lower)
    return jnp.clip(learning_rate * factor, low, high)


def learning_rate_at(config: PPOConfig, progress: float, frames: int = 0) -> float:
    """Return the learning rate of an update; with ``kl_target`` the first one.

    Args:
        config: Settings of the learning rate.
        progress: Share of the training run before the update, from 0 to 1.
        frames: Frames trained on after the update, so that the first update of a
            warm-up is not lost.
    """
    rate = _scheduled_rate(config, progress, frames)
    if frames < config.lr_warmup_frames:
        rate *= frames / config.lr_warmup_frames
    return rate


def _scheduled_rate(config: PPOConfig, progress: float, frames: int) -> float:
    if config.kl_target:
        return config.learning_rate
    if schedule := config.schedules.get("learning_rate"):
        return schedule.at(config.learning_rate, progress, frames)
    if config.lr_schedule == "constant":
        return config.learning_rate
    decayed = (min(progress, 1.0) - _DECAY_STARTS) / (1.0 - _DECAY_STARTS)
    return config.learning_rate * (1.0 - (1.0 - _FINAL_SHARE) * max(decayed, 0.0))
