"""Doom's scenarios as a family of environments."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxfactory.config.env import EnvConfig
from jaxfactory.envs.family import Replay
from jaxfactory.scenarios import matches, scenario_table
from jaxfactory.scenarios.maps import selection
from jaxfactory.scenarios.match_of import match_of
from jaxfactory.scenarios.scenario import Scenario


if TYPE_CHECKING:
    from jaxfactory.envs.doom.resolve import ResolvedDoom


class DoomFamily:
    """Implements `envs.family.Family`; imports the engine on demand."""

    def find(self, scenario: str) -> Scenario:
        """Return a scenario by its name."""
        return scenario_table.find(scenario)

    def check(self, config: EnvConfig, *, video: bool = False) -> None:
        """Check the scenario's name and a chosen map."""
        del video  # Every scenario can be recorded.
        scenario = self.find(config.scenario)
        if config.map is not None:
            selection.check(scenario, config.map)

    def resolve(
        self, config: EnvConfig, scenario: Scenario | None = None
    ) -> "ResolvedDoom":
        """Read scenario, .cfg file and map."""
        from jaxfactory.envs.doom import resolve

        return resolve.resolve(config, scenario)

    def make_pool(self, environment: "ResolvedDoom", **options: Any) -> Any:
        """Start an `EnvPool`."""
        from jaxfactory.envs.doom.pool import EnvPool

        return EnvPool(environment, **options)

    def env_seeds(self, seed: int, num_envs: int) -> list[int]:
        """Return a seed for each environment, as `EnvSeed` of the core does."""
        # SplitMix64 (Steele et al. 2014); see csrc/pool/env_pool.cc.
        seeds = []
        for index in range(num_envs):
            x = (seed * 0x100000001B3 + index + 1 + 0x9E3779B97F4A7C15) % 2**64
            x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
            x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) % 2**64
            seeds.append((x ^ (x >> 31)) >> 32)
        return seeds

    def complete(
        self,
        scenario: str | Scenario,
        num_envs: int,
        frame_skip: int | None,
        fields: Mapping[str, Any],
    ) -> EnvConfig:
        """Return settings with two groups if each can hold whole matches, else one."""
        row = self.find(scenario) if isinstance(scenario, str) else scenario
        chosen = dict(fields)
        if "num_groups" not in chosen:
            agents = row.match.agents if row.match else 1
            pair = 2 * (chosen.get("num_agents") or agents)
            chosen["num_groups"] = 1 if num_envs % pair else 2
        return EnvConfig(
            scenario=scenario if isinstance(scenario, str) else row.name,
            num_envs=num_envs,
            frame_skip=EnvConfig.frame_skip if frame_skip is None else frame_skip,
            **chosen,
        )

    def with_num_envs(
        self, config: EnvConfig, num_envs: int, scenario: Scenario | None = None
    ) -> EnvConfig:
        """Return settings for whole matches."""
        scenario = scenario or self.find(config.scenario)
        match = match_of(config, scenario)
        if match is not None:
            num_envs = matches.whole(num_envs, match.agents)
        return dataclasses.replace(config, num_envs=num_envs, num_groups=1)

    def replay(
        self,
        config: EnvConfig,
        seed: int,
        actions: np.ndarray,
        lengths: Sequence[int],
        scenario: Scenario | None = None,
    ) -> Replay:
        """Return every tic at high resolution."""
        from jaxfactory.envs.doom import replay

        return replay.replay(config, seed, actions, lengths, scenario)

    def reference(self, scenario: str | Scenario) -> str:
        """Return the scenario's name, or a reference to its file or variable."""
        return scenario_table.reference(scenario)

    def is_installed(self, scenario: str) -> bool:
        """Whether the scenario is built in."""
        return scenario in scenario_table.names()

    def agent_id(self, scenario: str) -> str:
        """Return ``doom_...``, the naming convention of published agents."""
        _, separator, name = scenario.rpartition(":")
        return f"doom_{name.lower() if separator else Path(scenario).stem}"


FAMILY = DoomFamily()
