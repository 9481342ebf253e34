"""Gymnasium's environments behind the pool's face, so that they are trained as Doom is.

Any environment of its registry, by name. They are stepped by Gymnasium's own vector
environments, all in this process or each in one of its own. NumPy only, as `doom_pool`.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Shaped

from jaxfactory.config.env import EnvConfig
from jaxfactory.envs.gymnasium.actions import ActionCodec
from jaxfactory.envs.gymnasium.observations import ObservationCodec
from jaxfactory.envs.gymnasium.registry import find, make, make_env, vectorised
from jaxfactory.envs.step import Step, view
from jaxfactory.envs.trained_reward import TrainedReward
from jaxfactory.spec import EnvSpec


class GymnasiumPool:
    """Environments of Gymnasium with the face of `doom_pool.EnvPool`.

    Where there is no image, `Step.obs` has no pixels; `Step.measurements` holds all
    that is no image. A `Step.reward` is the environment's own, scaled and clipped as
    `config` says, and returns are of the environment's own. Actions are clipped to
    their bounds here; see `actions`.

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
        self._trained = TrainedReward.of(config)
        found = find(config)
        one = make(found, config.frame_skip, config.timeout, None)
        self._obs = ObservationCodec(one.observation_space)
        self._actions = ActionCodec(one.action_space)
        one.close()
        self.spec = EnvSpec(self._obs.spec, self._actions.spec)
        self.seeds = tuple(env_seeds or env_seeds_of(seed, self.num_envs))
        self._fresh = True  # no reset yet, so that the seeds are still to be used
        self._processes = self.num_workers > 1
        arguments = (found, config.frame_skip, config.timeout, None)
        size = self.num_envs // self.num_groups
        self._envs = [vectorised(arguments, size, self._processes) for _ in self._all]
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
            ("reward", self._trained(reward)), ("raw_reward", reward),
            ("terminated", terminated), ("truncated", truncated), ("is_first", ended),
            ("episode_shaped_return", returns), ("episode_raw_return", returns),
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


def _arrays(
    spec: EnvSpec, slabs: int, slots: int, num_envs: int
) -> dict[str, np.ndarray]:
    image, measurements = spec.observation.image or (0, 0, 0), spec.observation[1]
    tails: dict[str, tuple[tuple[int, ...], str]] = {
        "obs": (image, "uint8"),
        "measurements": ((measurements,), "float32"),
        "reward": ((), "float32"),
        "raw_reward": ((), "float64"),
        "episode_shaped_return": ((), "float32"),
        "episode_raw_return": ((), "float32"),
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
