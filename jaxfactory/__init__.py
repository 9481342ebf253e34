"""Train agents that play Doom from pixels: PPO in JAX over a C++ environment pool.

::

    state = jaxfactory.train(jaxfactory.Config(total_frames=1_000_000), "runs/mine")
    score = jaxfactory.evaluate("runs/mine")
    agent = jaxfactory.load("runs/mine")

The names below are imported when they are first used, so that looking at a version or
a help text does not start JAX. Where Gymnasium is installed, its registry gets an
environment for each scenario, such as ``jaxfactory/HealthGatheringSupreme-v0``.
"""

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

from jaxfactory.registration import register_with_gymnasium


if TYPE_CHECKING:
    from jaxfactory.agent import Agent as Agent
    from jaxfactory.api import evaluate as evaluate
    from jaxfactory.api import load as load
    from jaxfactory.api import train as train
    from jaxfactory.callbacks import Iteration as Iteration
    from jaxfactory.config import Config as Config
    from jaxfactory.config import EnvConfig as EnvConfig
    from jaxfactory.config import NetworkConfig as NetworkConfig
    from jaxfactory.config import PPOConfig as PPOConfig
    from jaxfactory.doom_pool import EngineError as EngineError
    from jaxfactory.doom_pool import EnvPool as EnvPool
    from jaxfactory.errors import UserCodeError as UserCodeError
    from jaxfactory.errors import UserError as UserError
    from jaxfactory.matches import Match as Match
    from jaxfactory.measurements import Measurement as Measurement
    from jaxfactory.pool import make_pool as make_pool
    from jaxfactory.scenario import Scenario as Scenario
    from jaxfactory.scenarios import register as register
    from jaxfactory.shaping import HeldWeapon as HeldWeapon
    from jaxfactory.shaping import Shaping as Shaping
    from jaxfactory.step import Step as Step

    __version__: str

_HOMES = {
    "Agent": "agent",
    "Config": "config",
    "EngineError": "doom_pool",
    "EnvConfig": "config",
    "EnvPool": "doom_pool",
    "HeldWeapon": "shaping",
    "Iteration": "callbacks",
    "Match": "matches",
    "Measurement": "measurements",
    "NetworkConfig": "config",
    "PPOConfig": "config",
    "Scenario": "scenario",
    "Shaping": "shaping",
    "Step": "step",
    "UserCodeError": "errors",
    "UserError": "errors",
    "evaluate": "api",
    "load": "api",
    "make_pool": "pool",
    "register": "scenarios",
    "train": "api",
}

__all__ = ["__version__", *sorted(_HOMES)]  # noqa: PLE0604 - the same names as above


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("jaxfactory")
    if name not in _HOMES:
        raise AttributeError(f"module 'jaxfactory' has no attribute {name!r}")
    return getattr(importlib.import_module(f"jaxfactory.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _Package(ModuleType):
    """The package; `jaxfactory.train` is the function, whatever has been imported.

    Importing the module `jaxfactory.train` would make it an attribute of the package
    and hide the function of that name. Modules are imported with
    ``from jaxfactory.train import ...``, which does not need the attribute.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _HOMES and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
register_with_gymnasium()
