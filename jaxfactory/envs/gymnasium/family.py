"""The family of Gymnasium's registered environments, as ``gymnasium:NAME``."""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxfactory.config.env import EnvConfig
from jaxfactory.config.families import GYMNASIUM
from jaxfactory.envs.family import Replay


if TYPE_CHECKING:
    from jaxfactory.envs.gymnasium.resolve import ResolvedGymnasium

# A name without a module to import.
_PLAIN_NAME = re.compile(r"(\w[\w.-]*/)?\w[\w.-]*", re.ASCII)


class GymnasiumFamily:
    """Implements `envs.family.Family`; imports Gymnasium on demand."""

    def find(self, scenario: str) -> None:
        """Accept every name: the registry is searched when an environment is made."""

    def check(self, config: EnvConfig, *, video: bool = False) -> None:
        """Create the environment once; for a video, also render it."""
        from jaxfactory.envs.gymnasium import registry, replay

        registry.make_env(config.scenario, config.frame_skip, config.timeout).close()
        if video:
            replay.check(config.scenario, config.frame_skip, config.timeout)

    def resolve(self, config: EnvConfig, scenario: None = None) -> "ResolvedGymnasium":
        """Find the environment in the registry and read its spaces."""
        del scenario
        from jaxfactory.envs.gymnasium import resolve

        return resolve.resolve(config)

    def make_pool(self, environment: "ResolvedGymnasium", **options: Any) -> Any:
        """Start a `GymnasiumPool`."""
        from jaxfactory.envs.gymnasium.pool import GymnasiumPool

        return GymnasiumPool(environment, **options)

    def env_seeds(self, seed: int, num_envs: int) -> list[int]:
        """Return a seed for each environment."""
        from jaxfactory.envs.gymnasium.pool import env_seeds_of

        return env_seeds_of(seed, num_envs)

    def complete(
        self,
        scenario: str,
        num_envs: int,
        frame_skip: int | None,
        fields: Mapping[str, Any],
    ) -> EnvConfig:
        """Return settings with one group and without action repetition."""
        return EnvConfig(
            scenario=scenario,
            num_envs=num_envs,
            frame_skip=1 if frame_skip is None else frame_skip,
            **{"num_groups": 1, **fields},
        )

    def with_num_envs(
        self, config: EnvConfig, num_envs: int, scenario: None = None
    ) -> EnvConfig:
        """Return settings for exactly `num_envs` environments."""
        del scenario
        return dataclasses.replace(config, num_envs=num_envs, num_groups=1)

    def replay(
        self,
        config: EnvConfig,
        seed: int,
        actions: np.ndarray,
        lengths: Sequence[int],
        scenario: None = None,
    ) -> Replay:
        """Return the first episode, one frame for each step of the policy."""
        del lengths, scenario
        from jaxfactory.envs.gymnasium import replay

        return replay.replay(
            config.scenario, config.frame_skip, config.timeout, seed, actions[:, 0]
        )

    def reference(self, scenario: str) -> str:
        """Return the name unchanged."""
        return scenario

    def is_installed(self, scenario: str) -> bool:
        """Whether the name has no module to import."""
        return bool(_PLAIN_NAME.fullmatch(scenario.removeprefix(GYMNASIUM)))

    def agent_id(self, scenario: str) -> str:
        """Return Gymnasium's own name."""
        return scenario.rpartition(":")[2]


FAMILY = GymnasiumFamily()
