"""The interface of a family of environments, and the lookup of the right one.

Code outside of `envs/` uses this interface; nothing else depends on whether an
environment is Doom's, Gymnasium's or of a new kind. `config.families` is the table.
"""

import dataclasses
import importlib
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Shaped, UInt8

from jaxfactory.config import families
from jaxfactory.config.env import EnvConfig
from jaxfactory.envs.step import Step
from jaxfactory.scenarios.maps.map_file import MapFile
from jaxfactory.spec import EnvSpec


@runtime_checkable
class Pool(Protocol):
    """The pool interface that samplers and evaluation use.

    `EnvPool` documents the members; the rows of a group are consecutive.
    """

    spec: EnvSpec
    num_envs: int
    num_groups: int
    num_slabs: int
    seeds: tuple[int, ...]
    match: Any  # None, or has `agents`: the number of rows per match
    arrays: dict[str, np.ndarray]

    def __enter__(self) -> "Pool":
        """Return the pool."""

    def __exit__(self, *exception: object) -> None:
        """Close the environments."""

    def rows(self, group: int) -> slice:
        """Return the rows of a group in arrays over all environments."""

    def slab(self, index: int) -> dict[str, np.ndarray]:
        """Return one slab's arrays, ``[num_steps + 1, B, ...]``, as views."""

    def start(self) -> None:
        """Begin what the first reset awaits, if anything, and return at once."""

    def reset(self, env_seeds: Sequence[int | None] | None = None) -> Step:
        """Start a new episode everywhere, in slot 0 of slab 0."""

    def step(self, actions: np.ndarray) -> Step:
        """Step every environment once."""

    def send(self, group: int, actions: np.ndarray) -> None:
        """Start a step of one group."""

    def recv(self, group: int) -> Step:
        """Wait for a group's step and return its rows."""


@runtime_checkable
class ResolvedEnv(Protocol):
    """A configured environment, fully resolved before a pool is started.

    Attributes:
        config: The settings that it was resolved from.
        spec: Shapes of observations and actions.
    """

    config: EnvConfig
    spec: EnvSpec

    def map_file(self) -> MapFile | None:
        """Return the map file, or None if the family has no maps."""

    def map_notes(self, used: MapFile, trained: tuple[MapFile, ...]) -> list[str]:
        """Return notes on its map file, given those that an agent was trained on."""

    def map_warning(self) -> str:
        """Return a warning about its map before training, or ""."""


class ReplayFrame(NamedTuple):
    """One frame of a replay.

    Attributes:
        image: RGB.
        ended: Length and raw return of the episode that ends with this frame, or None.
    """

    image: UInt8[np.ndarray, "H W 3"]
    ended: tuple[int, float] | None = None


class Replay(NamedTuple):
    """Recorded episodes as a sequence of frames.

    Attributes:
        frames: In order; generated while they are read.
        rate: Frames per second at the environment's own speed.
        count: Approximate number of frames.
    """

    frames: Iterator[ReplayFrame]
    rate: Fraction
    count: int


@runtime_checkable
class Family(Protocol):
    """One kind of environment: finds, describes, steps and replays it.

    `scenario` is always a full name, with its prefix, or an object that the family
    accepts in its place. `config.families` holds the constants of each family.
    """

    def find(self, scenario: str) -> Any:
        """Return the object that a name refers to; None if it is only a name.

        Raises:
            UserError: If there is no such scenario.
        """

    def check(self, config: EnvConfig, *, video: bool = False) -> None:
        """Raise a `UserError` for invalid settings; start nothing.

        Args:
            config: The environment.
            video: Also check that it can be recorded.
        """

    def resolve(self, config: EnvConfig, scenario: Any = None) -> ResolvedEnv:
        """Resolve an environment.

        Raises:
            UserError: If the environment, or something that it needs, does not exist.
        """

    def make_pool(self, environment: Any, **options: Any) -> Any:
        """Start a `Pool` of a resolved environment."""

    def env_seeds(self, seed: int, num_envs: int) -> list[int]:
        """Return the seeds that a pool with `seed` derives for its environments."""

    def complete(
        self,
        scenario: Any,
        num_envs: int,
        frame_skip: int | None,
        fields: Mapping[str, Any],
    ) -> EnvConfig:
        """Return settings for `make_pool`, with this family's defaults filled in."""

    def with_num_envs(
        self, config: EnvConfig, num_envs: int, scenario: Any = None
    ) -> EnvConfig:
        """Return settings for at most about `num_envs` environments in one group."""

    def replay(
        self,
        config: EnvConfig,
        seed: int,
        actions: Shaped[np.ndarray, "N agents A"],
        lengths: Sequence[int],
        scenario: Any = None,
    ) -> Replay:
        """Return the frames of recorded episodes.

        Args:
            config: The environment.
            seed: Seed of the environment.
            actions: The policy's actions, from the first step on.
            lengths: Length of each episode.
            scenario: Instead of the one that `config` names.
        """

    def reference(self, scenario: Any) -> str:
        """Return a name that refers to the scenario from any directory."""

    def is_installed(self, scenario: str) -> bool:
        """Whether the name refers to an installed environment, not to user code."""

    def agent_id(self, scenario: str) -> str:
        """Return the name of the scenario in comparisons of published agents."""


def of(scenario: Any) -> Family:
    """Return the family of a scenario, given as a name or an object."""
    entry = families.of(scenario if isinstance(scenario, str) else "")
    family: Family = importlib.import_module(entry.module).FAMILY
    return family


def resolve(config: EnvConfig, scenario: Any = None) -> ResolvedEnv:
    """Resolve an environment without starting an engine.

    Args:
        config: Names the environment.
        scenario: A `Scenario`, instead of the one that `config` names.

    Raises:
        UserError: If the environment, or something that it needs, does not exist.
    """
    return of(scenario or config.scenario).resolve(config, scenario)


def check(config: EnvConfig, *, video: bool = False) -> None:
    """Raise a `UserError` for an invalid environment; start nothing.

    Args:
        config: Names the environment.
        video: Also check that it can be recorded.
    """
    of(config.scenario).check(config, video=video)


def pinned(config: EnvConfig, scenario: Any = None) -> EnvConfig:
    """Return settings whose scenario and map can be found from any directory.

    Args:
        config: The settings.
        scenario: A scenario, or its name, instead of the one that `config` names.
    """
    chosen = scenario or config.scenario
    place = config.map and str(Path(config.map).expanduser().absolute())
    name = of(chosen).reference(chosen)
    return dataclasses.replace(config, scenario=name, map=place)
