"""Gymnasium's environments behind the pool's face, so that they are trained as Doom is.

Any environment of its registry, by name. They are stepped by Gymnasium's own vector
environments, all in this process or each in one of its own. NumPy only, as `pool`.
"""

import importlib
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv
from jaxtyping import Shaped, UInt8

from jaxfactory import plugins
from jaxfactory.env_config import EnvConfig, gymnasium_id
from jaxfactory.errors import UserError
from jaxfactory.gymnasium_spaces import ActionCodec, ObservationCodec
from jaxfactory.spec import EnvSpec
from jaxfactory.step import Step, view


_DEFAULT_FPS = 30.0


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
    return _make(find(config), config.frame_skip, config.timeout, render_mode)


def _make(
    spec: gymnasium.envs.registration.EnvSpec,
    frame_skip: int,
    timeout: int | None,
    render_mode: str | None,
) -> gymnasium.Env:
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


class GymnasiumPool:
    """Environments of Gymnasium with the face of `pool.EnvPool`.

    Where there is no image, `Step.obs` has no pixels; `Step.measurements` holds all
    that is no image. A `Step.reward` is the environment's own. Actions are clipped to
    their bounds here; see `gymnasium_spaces`.

    Attributes:
        spec: Shapes of observations and actions.
        num_envs: Environments, B.
        num_groups: Groups that they are split into, in order and of equal size.
        seeds: Seed that each environment was reset with.
        variable_names: None.
        match: None.
    """

    variable_names: tuple[str, ...] = ()
    match: None = None
    engine_pids: tuple[int, ...] = ()

    def __init__(
        self,
        config: EnvConfig,
        *,
        scenario: None = None,
        seed: int = 0,
        num_steps: int = 32,
        num_slabs: int = 2,
        env_seeds: Sequence[int] | None = None,
        serial: bool = False,
        pin: bool = False,
    ):
        """Make the environments.

        Args:
            config: Names them.
            scenario: None: `config` names the environment.
            seed: Each environment gets its own seed from it.
            num_steps: Steps that one slab holds, besides the observation before them.
            num_slabs: Slabs that are used in turn.
            env_seeds: Instead of those derived from `seed`, one for each environment.
            serial: Step all of them in this process, whatever `config` says.
            pin: Understood, as `EnvPool` has it; nothing is pinned here.

        Raises:
            UserError: If there is no such environment, it cannot be made, or its spaces
                are none that can be learned.
        """
        del pin, scenario
        self.num_envs, self.num_groups = config.num_envs, config.num_groups
        self.num_workers = self.num_envs if config.processes and not serial else 1
        self.frame_skip = config.frame_skip
        self.num_steps, self.num_slabs = num_steps, num_slabs
        found = find(config)
        one = _make(found, config.frame_skip, config.timeout, None)
        self._obs = ObservationCodec(one.observation_space)
        self._actions = ActionCodec(one.action_space)
        one.close()
        self.spec = EnvSpec(self._obs.spec, self._actions.spec)
        self.seeds = tuple(env_seeds or env_seeds_of(seed, self.num_envs))
        self._fresh = True  # no reset yet, so that the seeds are still to be used
        self._processes = self.num_workers > 1
        arguments = (found, config.frame_skip, config.timeout, None)
        size = self.num_envs // self.num_groups
        self._envs = [_vectorised(arguments, size, self._processes) for _ in self._all]
        self._sent: list[Any] = [None] * self.num_groups
        self._steps = [0] * self.num_groups
        self.arrays = _arrays(self.spec, num_slabs, num_steps + 1, self.num_envs)
        self._returns = np.zeros(self.num_envs)
        self._lengths = np.zeros(self.num_envs, np.int64)

    def __enter__(self) -> "GymnasiumPool":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all environments."""
        for envs in self._envs:
            envs.close()

    @property
    def _all(self) -> range:
        return range(self.num_groups)

    def rows(self, group: int) -> slice:
        """Return the rows of a group in arrays over all environments."""
        size = self.num_envs // self.num_groups
        return slice(group * size, (group + 1) * size)

    def slab(self, index: int) -> dict[str, np.ndarray]:
        """Return one slab's arrays, `[num_steps + 1, B, ...]`, as views."""
        return {
            name: array[index]
            for name, array in self.arrays.items()
            if not name.startswith("final_")
        }

    def reset(self, env_seeds: Sequence[int | None] | None = None) -> Step:
        """Begin a new episode in every environment, in slot 0 of slab 0.

        Args:
            env_seeds: New seeds, one for each environment; one with None goes on.
        """
        self._check_idle()
        if env_seeds is not None:
            pairs = zip(env_seeds, self.seeds, strict=True)
            self.seeds = tuple(old if new is None else new for new, old in pairs)
        used = self.seeds if self._fresh else env_seeds
        self._fresh = False
        for name, array in self.arrays.items():
            if name not in ("obs", "measurements", "final_obs", "final_measurements"):
                array[0, 0] = 0
        self._returns[:], self._lengths[:] = 0.0, 0
        for group, envs in enumerate(self._envs):
            rows = self.rows(group)
            seeds = None if used is None else list(used[rows])
            obs, _ = envs.reset(seed=seeds)
            self._steps[group] = 0
            self._write(obs, 0, 0, rows)
            self.arrays["is_first"][0, 0, rows] = True
        return view(self.arrays, 0, 0, slice(None))

    def step(self, actions: Shaped[np.ndarray, "B A"]) -> Step:
        """Step every environment once.

        Raises:
            ValueError: If actions have another shape, or an index is out of its head.
        """
        actions = self._checked(actions, self.num_envs)
        self._check_idle()
        for group in self._all:
            self.send(group, actions[self.rows(group)])
        for group in self._all:
            self.recv(group)
        return view(self.arrays, *self._position(0), slice(None))

    def send(self, group: int, actions: Shaped[np.ndarray, "b A"]) -> None:
        """Begin a step of one group; with processes it returns at once."""
        if self._sent[group] is not None:
            raise RuntimeError(f"group {group} has been sent actions; call recv first")
        if self._fresh:
            raise RuntimeError("call reset before the first step")
        rows = self.rows(group)
        decoded = self._actions.decode(self._checked(actions, rows.stop - rows.start))
        self._steps[group] += 1
        slab, slot = self._position(group)
        if slot == 1 and self._steps[group] > 1:
            # A new slab begins with the observation that the one before ended with.
            before = (slab - 1) % self.num_slabs
            for name in ("obs", "measurements", "is_first"):
                array = self.arrays[name]
                array[slab, 0, rows] = array[before, self.num_steps, rows]
        if self._processes:
            self._envs[group].step_async(decoded)
        self._sent[group] = decoded

    def recv(self, group: int) -> Step:
        """Wait for a group's step and return its rows."""
        decoded, self._sent[group] = self._sent[group], None
        if decoded is None:
            raise RuntimeError(f"nothing was sent to group {group}; call send first")
        envs = self._envs[group]
        answer = envs.step_wait() if self._processes else envs.step(decoded)
        obs, reward, terminated, truncated, info = answer
        rows = self.rows(group)
        slab, slot = self._position(group)
        self._write(obs, slab, slot, rows)
        ended = terminated | truncated
        for row in np.flatnonzero(ended):
            at = slice(rows.start + row, rows.start + row + 1)
            self._obs.write(
                self._obs.batch_of_one(info["final_obs"][row]),
                self.arrays["final_obs"], self.arrays["final_measurements"], at,
            )  # fmt: skip
        returns, lengths = self._returns[rows], self._lengths[rows]
        returns += reward
        lengths += self.frame_skip
        for name, values in (
            ("reward", reward), ("own_reward", reward),
            ("terminated", terminated), ("truncated", truncated), ("is_first", ended),
            ("episode_return", returns), ("episode_own_return", returns),
            ("episode_length", lengths),
        ):  # fmt: skip
            self.arrays[name][slab, slot, rows] = values
        returns[ended], lengths[ended] = 0.0, 0
        return view(self.arrays, slab, slot, rows)

    def _write(self, obs: Any, slab: int, slot: int, rows: slice) -> None:
        image = self.arrays["obs"][slab, slot]
        self._obs.write(obs, image, self.arrays["measurements"][slab, slot], rows)

    def _position(self, group: int) -> tuple[int, int]:
        step = self._steps[group]
        if step == 0:
            return 0, 0
        done, slot = divmod(step - 1, self.num_steps)
        return done % self.num_slabs, slot + 1

    def _check_idle(self) -> None:
        for group in self._all:
            if self._sent[group] is not None:
                raise RuntimeError(
                    f"group {group} is still stepping; call recv({group}) first"
                )

    def _checked(self, actions: np.ndarray, rows: int) -> np.ndarray:
        actions = np.asarray(actions)
        width = self.spec.action.width
        if actions.shape != (rows, width):
            raise ValueError(
                f"actions have shape {actions.shape}, but {rows} environments take "
                f"({rows}, {width})"
            )
        self._actions.check(actions)
        return actions


def env_spec(config: EnvConfig) -> EnvSpec:
    """Return the shapes of an environment's observations and actions."""
    env = make_env(config)
    spec = EnvSpec(
        ObservationCodec(env.observation_space).spec, ActionCodec(env.action_space).spec
    )
    env.close()
    return spec


def env_seeds_of(seed: int, num_envs: int) -> list[int]:
    """Return a seed for each environment, the same whatever their number."""
    return np.random.SeedSequence(seed).generate_state(num_envs).tolist()


def replay(
    config: EnvConfig, seed: int, actions: Shaped[np.ndarray, "N A"]
) -> Iterator[tuple[UInt8[np.ndarray, "H W 3"], float, bool]]:
    """Yield each frame of an episode, the return so far, and whether it has ended.

    Args:
        config: The environment.
        seed: It was reset with.
        actions: One row for each step.

    Raises:
        UserError: If the environment cannot be seen.
    """
    env = make_env(config, "rgb_array")
    try:
        actions_of = ActionCodec(env.action_space)
        env.reset(seed=seed)
        yield _frame(env), 0.0, False
        total = 0.0
        for action in actions:
            decoded = actions_of.decode_one(action)
            _, reward, terminated, truncated, _ = env.step(decoded)
            total += float(reward)
            yield _frame(env), total, bool(terminated or truncated)
            if terminated or truncated:
                return
    finally:
        env.close()


def frames_per_second(config: EnvConfig) -> float:
    """Return how many decisions a second of the environment's own time has."""
    env = make_env(config)
    fps = float(env.metadata.get("render_fps") or _DEFAULT_FPS)
    env.close()
    return fps / config.frame_skip


def _frame(env: gymnasium.Env) -> np.ndarray:
    try:
        image = env.render()
    except gymnasium.error.Error as error:
        raise UserError(f"{env.spec.id} cannot be rendered: {error}") from error
    if not isinstance(image, np.ndarray) or image.ndim != 3:
        raise UserError(
            f"{env.spec.id} has no render mode rgb_array, so that there is no video"
        )
    return image


def _vectorised(
    arguments: tuple[Any, ...], size: int, processes: bool
) -> SyncVectorEnv | AsyncVectorEnv:
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
        return _make(*self._arguments)


def _arrays(
    spec: EnvSpec, slabs: int, slots: int, num_envs: int
) -> dict[str, np.ndarray]:
    image, measurements = spec.observation.image or (0, 0, 0), spec.observation[1]
    tails: dict[str, tuple[tuple[int, ...], str]] = {
        "obs": (image, "uint8"),
        "measurements": ((measurements,), "float32"),
        "reward": ((), "float32"),
        "own_reward": ((), "float64"),
        "episode_return": ((), "float32"),
        "episode_own_return": ((), "float32"),
        "episode_length": ((), "int32"),
        "frags": ((), "int32"),
        "place": ((), "int32"),
        "game_variables": ((0,), "float64"),
    }
    flags = ("terminated", "truncated", "is_first", "restarted")
    tails |= dict.fromkeys(flags, ((), "bool"))
    arrays = {
        name: np.zeros((slabs, slots, num_envs, *tail), dtype)
        for name, (tail, dtype) in tails.items()
    }
    arrays["final_obs"] = np.zeros((num_envs, *image), np.uint8)
    arrays["final_measurements"] = np.zeros((num_envs, measurements), np.float32)
    return arrays
