"""Train agents that play Doom from pixels: PPO in JAX over a C++ environment pool.

::

    state = jaxfactory.train(jaxfactory.Config(total_frames=1_000_000), "runs/mine")
    score = jaxfactory.evaluate("runs/mine")
    agent = jaxfactory.load("runs/mine")

The public names are imported on first use, so that ``jaxfactory --help`` does not
start JAX. If Gymnasium is installed, each scenario is registered as an environment,
for example ``jaxfactory/HealthGatheringSupreme-v0``.
"""

import importlib
from typing import TYPE_CHECKING, Any

from jaxfactory.envs.wrappers.registration import register_with_gymnasium


if TYPE_CHECKING:
    from jaxfactory._util.errors import UserCodeError as UserCodeError
    from jaxfactory._util.errors import UserError as UserError
    from jaxfactory.api import evaluate as evaluate
    from jaxfactory.api import load as load
    from jaxfactory.api import train as train
    from jaxfactory.config.network import BonusConfig as BonusConfig
    from jaxfactory.config.train import Config as Config
    from jaxfactory.config.train import EnvConfig as EnvConfig
    from jaxfactory.config.train import NetworkConfig as NetworkConfig
    from jaxfactory.config.train import PPOConfig as PPOConfig
    from jaxfactory.envs.doom.pool import EngineError as EngineError
    from jaxfactory.envs.doom.pool import EnvPool as EnvPool
    from jaxfactory.envs.pool import make_pool as make_pool
    from jaxfactory.envs.step import Step as Step
    from jaxfactory.evaluation.agent import Agent as Agent
    from jaxfactory.scenarios.matches import Match as Match
    from jaxfactory.scenarios.measurements import Measurement as Measurement
    from jaxfactory.scenarios.scenario import Scenario as Scenario
    from jaxfactory.scenarios.scenario_table import register as register
    from jaxfactory.scenarios.shaping import HeldWeapon as HeldWeapon
    from jaxfactory.scenarios.shaping import Shaping as Shaping
    from jaxfactory.training.callbacks import Iteration as Iteration

    __version__: str

# The module of each public name, as above.
_HOMES = {
    "Agent": "evaluation.agent",
    "BonusConfig": "config.network",
    "Config": "config.train",
    "EngineError": "envs.doom.pool",
    "EnvConfig": "config.train",
    "EnvPool": "envs.doom.pool",
    "HeldWeapon": "scenarios.shaping",
    "Iteration": "training.callbacks",
    "Match": "scenarios.matches",
    "Measurement": "scenarios.measurements",
    "NetworkConfig": "config.train",
    "PPOConfig": "config.train",
    "Scenario": "scenarios.scenario",
    "Shaping": "scenarios.shaping",
    "Step": "envs.step",
    "UserCodeError": "_util.errors",
    "UserError": "_util.errors",
    "evaluate": "api",
    "load": "api",
    "make_pool": "envs.pool",
    "register": "scenarios.scenario_table",
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


register_with_gymnasium()
