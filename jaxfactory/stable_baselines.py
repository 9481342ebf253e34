"""The pool as a Stable-Baselines3 `VecEnv`.

Pass the environments directly to its algorithms::

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
        "pip install 'jaxfactory[sb3]' installs it, with PyTorch"
    ) from error


class StableBaselinesEnv(VecEnv):
    """Doom environments as a Stable-Baselines3 `VecEnv`, stepped by the C++ pool.

    Observations and actions are those of `DoomVectorEnv`: an image ``[H, W, C]``, which
    `CnnPolicy` takes, or with measurements a dictionary, for `MultiInputPolicy`. The
    info of an environment holds ``raw_reward``, the scenario's raw reward, and
    ``game_variables``; at the end of an episode also ``raw_return``, ``tics``,
    ``episode`` as `Monitor` writes it, ``terminal_observation`` and
    ``TimeLimit.truncated``.

    Attributes:
        envs: The underlying `DoomVectorEnv`.
    """

    def __init__(
        self,
        scenario: str | Scenario,
        num_envs: int = 1,
        *,
        render_mode: str | None = None,
        **options: Any,
    ):
        """Prepare the environments; the first `reset` starts their engines.

        Args:
            scenario: A scenario's name, the path of a .cfg file, or a scenario.
            num_envs: Environments, as in `DoomVectorEnv`.
            render_mode: None or ``"rgb_array"``.
            **options: Further options of `DoomVectorEnv`.

        Raises:
            UserError: If an option is invalid.
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
        """Start a new episode everywhere and return the observations.

        Seeds from `seed` apply to one reset; later resets keep the seeds.
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
        """Store the actions, ``[B]`` or ``[B, heads]``, for `step_wait`."""
        self._actions = actions

    def step_wait(
        self,
    ) -> tuple[Any, Float32[np.ndarray, "B"], Bool[np.ndarray, "B"], list[dict]]:
        """Step every environment once.

        Returns:
            Observations, rewards, whether episodes ended, and an info per environment.
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
        """Return each environment's latest image in RGB, None without a render mode."""
        return self.envs.render() or [None] * self.num_envs

    def close(self) -> None:
        """End the engines."""
        self.envs.close()

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """Return an attribute of the vector environment, once per environment."""
        value = getattr(self.envs, attr_name)
        return [value for _ in self._rows(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Refuse: the environments are not separate objects."""
        raise AttributeError(
            f"{attr_name!r} cannot be set: the environments are stepped together and "
            "are not separate objects; give options on construction"
        )

    def env_method(
        self, method_name: str, *method_args: Any, indices: Any = None, **kwargs: Any
    ) -> list[Any]:
        """Refuse: the environments are not separate objects."""
        raise AttributeError(
            f"{method_name!r} cannot be called: the environments are stepped together "
            "and are not separate objects; `envs` is the vector environment"
        )

    def env_is_wrapped(self, wrapper_class: type, indices: Any = None) -> list[bool]:
        """Report a Monitor wrapper around each environment, and no other wrapper."""
        monitored = issubclass(wrapper_class, Monitor)
        return [monitored for _ in self._rows(indices)]

    def _rows(self, indices: Any) -> Iterable[int]:
        return self._get_indices(indices)
