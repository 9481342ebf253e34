"""Train agents that play Doom from pixels: PPO in JAX over a C++ environment pool.

The names below are imported when they are first used, so that looking at a version or
a help text does not start JAX.
"""

import importlib
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from jaxfactory.config import Config as Config
    from jaxfactory.config import EnvConfig as EnvConfig
    from jaxfactory.config import NetworkConfig as NetworkConfig
    from jaxfactory.config import PPOConfig as PPOConfig
    from jaxfactory.errors import UserError as UserError
    from jaxfactory.matches import Match as Match
    from jaxfactory.measurements import Measurement as Measurement
    from jaxfactory.pool import EngineError as EngineError
    from jaxfactory.pool import EnvPool as EnvPool
    from jaxfactory.pool import Step as Step
    from jaxfactory.pool import make_pool as make_pool
    from jaxfactory.scenario import Scenario as Scenario
    from jaxfactory.scenarios import register as register
    from jaxfactory.shaping import HeldWeapon as HeldWeapon
    from jaxfactory.shaping import Shaping as Shaping

_HOMES = {
    "Config": "config",
    "EnvConfig": "config",
    "NetworkConfig": "config",
    "PPOConfig": "config",
    "UserError": "errors",
    "EngineError": "pool",
    "EnvPool": "pool",
    "Step": "pool",
    "make_pool": "pool",
    "HeldWeapon": "shaping",
    "Match": "matches",
    "Measurement": "measurements",
    "Scenario": "scenario",
    "Shaping": "shaping",
    "register": "scenarios",
}

__all__ = sorted(_HOMES)  # noqa: PLE0605 - the same names as above


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module 'jaxfactory' has no attribute {name!r}")
    return getattr(importlib.import_module(f"jaxfactory.{_HOMES[name]}"), name)
