"""`GymnasiumPool`: Gymnasium environments with the interface of `EnvPool`.

Gymnasium's own vector environments step them, in this process or in one process each.
NumPy only: this module never imports JAX.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Shaped

from jaxfactory.config.env import EnvConfig
from jaxfactory.envs.gymnasium.registry import vectorized
from jaxfactory.envs.gymnasium.resolve import ResolvedGymnasium, resolve
from jaxfactory.envs.step import Step, make_arrays, view
from jaxfactory.envs.trained_reward import TrainedReward


class GymnasiumPool:
    """Gymnasium environments with the interface of `EnvPool`.

    `Step.obs` has no channels if no part of the observation is an image;
    `Step.measurements` holds everything else. `Step.reward` is the environment's
    reward, scaled and clipped by the settings in `config`; returns sum unscaled
    rewards. Actions are clipped to their bounds; see `actions`.

    Attributes:
        spec: Shapes of observations and actions.
        num_envs: Environments, B.
        num_groups: Groups of consecutive environments, of equal size.
        seeds: Seed that each environment was reset with.
        variable_names: Empty: there are no game variables.
        match: None: there are no matches.
    """

    variable_names: tuple[str, ...] = ()
    match: None = None
    engine_pids: tuple[int, ...] = ()

    def __init__(
        self,
        config: EnvConfig | ResolvedGymnasium,
        *,
        seed: int = 0,
        num_steps: int = 32,
        num_slabs: int = 2,
        env_seeds: Sequence[int] | None = None,
        serial: bool = False,
        pin: bool = False,
    ):
        """Create the environments.

        Args:
            config: Settings, or a resolved environment.
            seed: Each environment derives its own seed from it.
            num_steps: Steps per slab, besides the observation before them.
            num_slabs: Number of slabs, which are used in turn.
            env_seeds: One seed per environment, instead of those derived from `seed`.
            serial: Step all environments in this process, whatever the settings.
            pin: Ignored; accepted for compatibility with `EnvPool`.

        Raises:
            UserError: If the environment does not exist, cannot be created, or has an
                unsupported space.
        """
        del pin
        if isinstance(config, EnvConfig):
            config = resolve(config)
        self._obs, self._actions = config.observations, config.actions
        self.spec, found, config = config.spec, config.entry, config.config
        self.num_envs, self.num_groups = config.num_envs, config.num_groups
        self.num_workers = self.num_envs if config.processes and not serial else 1
        self.frame_skip = config.frame_skip
        self.num_steps, self.num_slabs = num_steps, num_slabs
        self._trained = TrainedReward(config.reward_scale, config.reward_clip)
        self.seeds = tuple(env_seeds or env_seeds_of(seed, self.num_envs))
        self._fresh = True  # Not reset yet: the first reset uses the seeds.
        self._processes = self.num_workers > 1
        arguments = (found, config.frame_skip, config.timeout, None)
        size = self.num_envs // self.num_groups
        self._envs = [vectorized(arguments, size, self._processes) for _ in self._all]
        self._sent: list[Any] = [None] * self.num_groups
        self._steps = [0] * self.num_groups
        self.arrays = make_arrays(self.spec, num_slabs, num_steps + 1, self.num_envs)
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

    def start(self) -> None:
        """Do nothing: environments start with the first reset."""

    def reset(self, env_seeds: Sequence[int | None] | None = None) -> Step:
        """Start a new episode in every environment, in slot 0 of slab 0.

        Args:
            env_seeds: New seeds, one per environment; None keeps the current one.
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
            ValueError: If actions have the wrong shape, or an index is out of range.
        """
        actions = self._checked(actions, self.num_envs)
        self._check_idle()
        for group in self._all:
            self.send(group, actions[self.rows(group)])
        for group in self._all:
            self.recv(group)
        return view(self.arrays, *self._position(0), slice(None))

    def send(self, group: int, actions: Shaped[np.ndarray, "b A"]) -> None:
        """Start a step of one group; with processes, return at once."""
        if self._sent[group] is not None:
            raise RuntimeError(f"group {group} has been sent actions; call recv first")
        if self._fresh:
            raise RuntimeError("call reset before the first step")
        rows = self.rows(group)
        decoded = self._actions.decode(self._checked(actions, rows.stop - rows.start))
        self._steps[group] += 1
        slab, slot = self._position(group)
        if slot == 1 and self._steps[group] > 1:
            # A new slab starts with the last observation of the previous one.
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


def env_seeds_of(seed: int, num_envs: int) -> list[int]:
    """Return a seed per environment; the first ones do not depend on `num_envs`."""
    return np.random.SeedSequence(seed).generate_state(num_envs).tolist()
