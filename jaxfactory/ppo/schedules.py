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


# The values of scheduled settings, by name; others are as in the configuration.
Scheduled = Mapping[str, Float[Array, ""]]
UNCHANGED: Scheduled = MappingProxyType({})


def on_device(values: Mapping[str, float]) -> dict[str, Float[Array, ""]]:
    """Return the values of scheduled settings as arrays."""
    return {name: jax.device_put(np.float32(value)) for name, value in values.items()}
