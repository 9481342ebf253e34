"""Finds Gymnasium environments in the registry; creates single or vector ones."""

import importlib
import warnings
from pathlib import Path
from typing import Any

import gymnasium
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv

from jaxfactory._util import plugins
from jaxfactory._util.errors import UserError
from jaxfactory.config.families import GYMNASIUM


class HeldAction(gymnasium.Wrapper):
    """Repeats each action for a number of steps and sums the rewards."""

    def __init__(self, env: gymnasium.Env, frame_skip: int):
        """Wrap an environment."""
        super().__init__(env)
        self._frame_skip = frame_skip

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Repeat an action, or stop when the episode ends."""
        total = 0.0
        for _ in range(self._frame_skip):
            obs, reward, terminated, truncated, info = self.env.step(action)
            total += float(reward)
            if terminated or truncated:
                break
        return obs, total, terminated, truncated, info


def find(scenario: str) -> gymnasium.envs.registration.EnvSpec:
    """Return an environment's entry in the registry.

    ``gymnasium:package.module:Name-v0`` imports the module first, which may register
    environments; the current directory is searched too.

    Raises:
        UserError: If there is no such environment, or its module cannot be imported.
    """
    name = scenario.removeprefix(GYMNASIUM)
    module, _, entry = name.rpartition(":")
    try:
        with warnings.catch_warnings():
            # Gymnasium warns about every name of which a newer version exists.
            warnings.simplefilter("ignore")
            if module:
                with plugins.first_on_path(Path.cwd()):
                    importlib.import_module(module)
            return gymnasium.spec(entry)
    except (gymnasium.error.Error, ImportError) as error:
        said = " ".join(str(error).split()).rstrip(".")
        raise UserError(f"Gymnasium has no environment {name!r}: {said}") from error


def make_env(
    scenario: str,
    frame_skip: int,
    timeout: int | None,
    render_mode: str | None = None,
) -> gymnasium.Env:
    """Find and make one environment.

    Args:
        scenario: A name for `find`.
        frame_skip: Steps that each action is repeated for.
        timeout: Steps until truncation; None keeps the registered limit.
        render_mode: Gymnasium's render mode.

    Raises:
        UserError: If it cannot be made, perhaps because it needs another package.
    """
    return make(find(scenario), frame_skip, timeout, render_mode)


def make(
    spec: gymnasium.envs.registration.EnvSpec,
    frame_skip: int,
    timeout: int | None,
    render_mode: str | None,
) -> gymnasium.Env:
    """Make one environment from its entry in the registry.

    Raises:
        UserError: If that fails.
    """
    # Not every environment accepts a render mode.
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


def vectorized(
    arguments: tuple[Any, ...], size: int, processes: bool
) -> SyncVectorEnv | AsyncVectorEnv:
    """Make a vector environment that resets episodes in the same step (SAME_STEP).

    Args:
        arguments: Arguments of `make` for each environment.
        size: Number of environments.
        processes: Step each environment in its own process instead of in this one.
    """
    makers = [_Maker(arguments)] * size
    options = {"copy": False, "autoreset_mode": AutoresetMode.SAME_STEP}
    if processes:
        # Not "fork": JAX runs threads.
        return AsyncVectorEnv(makers, context="forkserver", **options)
    return SyncVectorEnv(makers, **options)


class _Maker:
    """Makes an environment, here or in another process."""

    def __init__(self, arguments: tuple[Any, ...]):
        self._arguments = arguments

    def __call__(self) -> gymnasium.Env:
        return make(*self._arguments)
