"""Gymnasium's environments, found in its registry and made: one, or several at once."""

import importlib
import warnings
from pathlib import Path
from typing import Any

import gymnasium
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv

from jaxfactory._util import plugins
from jaxfactory._util.errors import UserError
from jaxfactory.config.env import EnvConfig, gymnasium_id


class HeldAction(gymnasium.Wrapper):
    """Holds each action for a number of the environment's steps; rewards add up."""

    def __init__(self, env: gymnasium.Env, frame_skip: int):
        """Wrap an environment."""
        super().__init__(env)
        self._frame_skip = frame_skip

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Step the environment, until an episode's end at most."""
        total = 0.0
        for _ in range(self._frame_skip):
            obs, reward, terminated, truncated, info = self.env.step(action)
            total += float(reward)
            if terminated or truncated:
                break
        return obs, total, terminated, truncated, info


def find(config: EnvConfig) -> gymnasium.envs.registration.EnvSpec:
    """Return the registry's entry of the environment that a configuration names.

    ``gymnasium:package.module:Name-v0`` imports the module first, so that it may
    register its environments; it is looked for in the current directory too.

    Raises:
        UserError: If there is none of that name, or its module cannot be imported.
    """
    name = gymnasium_id(config.scenario) or ""
    module, _, entry = name.rpartition(":")
    try:
        with warnings.catch_warnings():
            # That a newer version exists is no reason to stop.
            warnings.simplefilter("ignore")
            if module:
                with plugins.first_on_path(Path.cwd()):
                    importlib.import_module(module)
            return gymnasium.spec(entry)
    except (gymnasium.error.Error, ImportError) as error:
        said = " ".join(str(error).split()).rstrip(".")
        raise UserError(f"Gymnasium has no environment {name!r}: {said}") from error


def make_env(config: EnvConfig, render_mode: str | None = None) -> gymnasium.Env:
    """Make one environment.

    Raises:
        UserError: If it cannot be made, perhaps because it needs another package.
    """
    return make(find(config), config.frame_skip, config.timeout, render_mode)


def make(
    spec: gymnasium.envs.registration.EnvSpec,
    frame_skip: int,
    timeout: int | None,
    render_mode: str | None,
) -> gymnasium.Env:
    """Make one environment of the registry's entry.

    Raises:
        UserError: If that fails.
    """
    # Not every environment takes a render mode.
    options = {} if render_mode is None else {"render_mode": render_mode}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            env = gymnasium.make(
                spec, max_episode_steps=timeout, disable_env_checker=True, **options
            )
    except Exception as error:
        said = " ".join(str(error).split()).rstrip(".")
        raise UserError(
            f"the Gymnasium environment {spec.id} cannot be made: {said}"
        ) from error
    return HeldAction(env, frame_skip) if frame_skip > 1 else env


def vectorised(
    arguments: tuple[Any, ...], size: int, processes: bool
) -> SyncVectorEnv | AsyncVectorEnv:
    """Make several environments that restart in the same step (SAME_STEP).

    Args:
        arguments: Of `make`, for each.
        size: How many.
        processes: Step each in a process of its own, not all in this one.
    """
    makers = [_Maker(arguments)] * size
    options = {"copy": False, "autoreset_mode": AutoresetMode.SAME_STEP}
    if processes:
        # Not "fork": JAX has threads.
        return AsyncVectorEnv(makers, context="forkserver", **options)
    return SyncVectorEnv(makers, **options)


class _Maker:
    """Makes an environment, here or in another process."""

    def __init__(self, arguments: tuple[Any, ...]):
        self._arguments = arguments

    def __call__(self) -> gymnasium.Env:
        return make(*self._arguments)
