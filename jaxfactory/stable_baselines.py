"""Stable-Baselines3's face of the pool: Doom as its `VecEnv`.

Its algorithms are given the environments as they are::

    from stable_baselines3 import PPO
    from jaxfactory.stable_baselines import StableBaselinesEnv

    PPO("CnnPolicy", StableBaselinesEnv("basic", num_envs=16)).learn(200_000)
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32

from jaxfactory.envs.wrappers.vector_env import DoomVectorEnv
from jaxfactory.envs.wrappers.vector_info import of_row
from jaxfactory.scenarios.scenario import Scenario


try:
    from stable_baselines3.common.monitor import Monitor
    from stable_baselines3.common.vec_env import VecEnv
except ImportError as error:
    raise ImportError(
        "jaxfactory.stable_baselines needs Stable-Baselines3, which is not installed; "
        "pip install 'jaxfactory[sb3]' brings it, with PyTorch"
    ) from error


class StableBaselinesEnv(VecEnv):
    """Many games of Doom behind Stable-Baselines3's interface, stepped by the C++ pool.

    Observations and actions are those of `DoomVectorEnv`: an image ``[H, W, C]``, which
    `CnnPolicy` takes, or with measurements a dictionary, for `MultiInputPolicy`. Each
    game's information holds ``raw_reward``, the scenario's raw reward, and
    ``game_variables``; at an episode's end also ``raw_return``, ``tics``, ``episode``
    as `Monitor` writes it, ``terminal_observation`` and ``TimeLimit.truncated``.

    Attributes:
        envs: The vector environment that it steps.
    """

    def __init__(
        self,
        scenario: str | Scenario,
        num_envs: int = 1,
        *,
        render_mode: str | None = None,
        **options: Any,
    ):
        """Prepare the games; the first `reset` starts their engines.

        Args:
            scenario: A scenario's name, the path of a .cfg file, or a scenario.
            num_envs: Games, as of `DoomVectorEnv`.
            render_mode: None or ``"rgb_array"``.
            **options: Further options of `DoomVectorEnv`.

        Raises:
            UserError: If an option cannot work.
        """
        self.envs = DoomVectorEnv(
            scenario, num_envs, render_mode=render_mode, **options
        )
        self._actions = np.zeros(0, np.int64)
        super().__init__(
            num_envs,
            self.envs.single_observation_space,
            self.envs.single_action_space,
        )

    def reset(self) -> Any:
        """Begin a new episode in every game and return the observations.

        Seeds given with `seed` are used once; other resets go on with those there are.
        """
        seeds = (
            None if self._seeds[0] is None else [int(s) % 2**32 for s in self._seeds]
        )
        obs, info = self.envs.reset(seed=seeds)
        self.reset_infos = [of_row(info, row) for row in range(self.num_envs)]
        self._reset_seeds()
        self._reset_options()
        return obs

    def step_async(self, actions: np.ndarray) -> None:
        """Keep the actions, ``[B]`` or ``[B, heads]``, for `step_wait`."""
        self._actions = actions

    def step_wait(
        self,
    ) -> tuple[Any, Float32[np.ndarray, "B"], Bool[np.ndarray, "B"], list[dict]]:
        """Step every game once.

        Returns:
            Observations, rewards, whether episodes ended, and each game's information.
        """
        obs, reward, terminated, truncated, info = self.envs.step(self._actions)
        infos = [of_row(info, row) for row in range(self.num_envs)]
        ended = terminated | truncated
        for row in np.flatnonzero(ended):
            infos[row] = {
                **infos[row]["final_info"],
                "terminal_observation": infos[row]["final_obs"],
                "TimeLimit.truncated": bool(truncated[row]),
            }
        return obs, reward.astype(np.float32), ended, infos

    def get_images(self) -> Sequence[np.ndarray | None]:
        """Return the newest image of each game in RGB, None without a render mode."""
        return self.envs.render() or [None] * self.num_envs

    def close(self) -> None:
        """End the engines."""
        self.envs.close()

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """Return an attribute of the vector environment, once for each game."""
        value = getattr(self.envs, attr_name)
        return [value for _ in self._rows(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Refuse: the games are no objects of their own."""
        raise AttributeError(
            f"{attr_name!r} cannot be set: the games are stepped together and are no "
            "objects of their own; give options when they are made"
        )

    def env_method(
        self, method_name: str, *method_args: Any, indices: Any = None, **kwargs: Any
    ) -> list[Any]:
        """Refuse: the games are no objects of their own."""
        raise AttributeError(
            f"{method_name!r} cannot be called: the games are stepped together and are "
            "no objects of their own; `envs` is the vector environment"
        )

    def env_is_wrapped(self, wrapper_class: type, indices: Any = None) -> list[bool]:
        """Say that episodes are monitored, and that there is no other wrapper."""
        monitored = issubclass(wrapper_class, Monitor)
        return [monitored for _ in self._rows(indices)]

    def _rows(self, indices: Any) -> Iterable[int]:
        return self._get_indices(indices)
