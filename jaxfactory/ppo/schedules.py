"""Settings that change over a training run.

The values of an update are computed on the host from the share of the run that is over,
and reach the jitted functions as traced scalars: a new value compiles nothing. Settings
without a schedule stay constants of the compiled programs.
"""

from collections.abc import Mapping
from types import MappingProxyType

import jax
import numpy as np
from jaxtyping import Array, Float

from jaxfactory.config.ppo import PPOConfig


# The values of scheduled settings, by name; others are as in the configuration.
Scheduled = Mapping[str, Float[Array, ""]]
UNCHANGED: Scheduled = MappingProxyType({})


def scheduled_at(config: PPOConfig, progress: float) -> dict[str, Float[Array, ""]]:
    """Return those settings but the learning rate that have a schedule.

    Args:
        config: The settings.
        progress: Share of the run that is over, from 0 to 1.
    """
    return {
        name: jax.device_put(np.float32(schedule.at(getattr(config, name), progress)))
        for name, schedule in config.schedules.items()
        if name != "learning_rate" and schedule.shape != "constant"
    }
