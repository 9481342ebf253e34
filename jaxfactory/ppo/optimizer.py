"""The optimizer, and how its step size changes over a training."""

import optax

from jaxfactory.config.train import PPOConfig


# What a decay lowers the step size to, as a share of the first, and where it begins.
_LAST_STEP_SIZE = 0.1
_DECAY_BEGINS = 0.5


def make_optimizer(config: PPOConfig) -> optax.GradientTransformation:
    """Return Adam, with a step size of 1, behind a clip of the global gradient norm.

    The update scales its result, because the step size depends on the frames that a
    run is to be trained for, and those may be changed when it is resumed.
    """
    adam = optax.adam(1.0, b1=0.9, b2=0.999, eps=config.adam_eps)
    if not config.max_grad_norm:
        return adam
    return optax.chain(optax.clip_by_global_norm(config.max_grad_norm), adam)


def step_size(config: PPOConfig, progress: float) -> float:
    """Return Adam's step size after a share of the training, from 0 to 1."""
    if config.lr_schedule == "constant":
        return config.learning_rate
    decayed = (min(progress, 1.0) - _DECAY_BEGINS) / (1.0 - _DECAY_BEGINS)
    return config.learning_rate * (1.0 - (1.0 - _LAST_STEP_SIZE) * max(decayed, 0.0))
