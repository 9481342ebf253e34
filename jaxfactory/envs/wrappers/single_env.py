"""One Doom environment as a `gymnasium.Env`."""

from typing import Any

import gymnasium
import numpy as np
from jaxtyping import UInt8

from jaxfactory.envs.wrappers.vector_env import TICS_PER_SECOND, DoomVectorEnv
from jaxfactory.envs.wrappers.vector_info import of_row
from jaxfactory.scenarios.scenario import Scenario


class DoomEnv(gymnasium.Env):
    """One Doom environment with the options and info of `DoomVectorEnv`."""

    metadata: dict[str, Any] = {  # noqa: RUF012 - Gymnasium's own name and place
        "render_modes": ["rgb_array"],
        "render_fps": TICS_PER_SECOND,
    }

    def __init__(
        self,
        scenario: str | Scenario,
        *,
        render_mode: str | None = None,
        **options: Any,
    ):
        """Prepare the environment; see `DoomVectorEnv`."""
        options = {"num_workers": 1, "pin": False, **options}
        self._envs = DoomVectorEnv(scenario, 1, render_mode=render_mode, **options)
        self.observation_space = self._envs.single_observation_space
        self.action_space = self._envs.single_action_space
        self.variable_names = self._envs.variable_names
        self.render_mode = render_mode
        self.metadata = {
            **self.metadata, "render_fps": self._envs.metadata["render_fps"]
        }  # fmt: skip
        self._final: Any = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Start a new episode; a seed determines it and the following ones."""
        super().reset(seed=seed)
        obs, info = self._envs.reset(seed=seed, options=options)
        self._final = None
        return _row(obs), of_row(info, 0)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Step the environment; at an episode's end, return its final observation."""
        obs, reward, terminated, truncated, info = self._envs.step(np.array([action]))
        last, facts = _row(obs), of_row(info, 0)
        self._final = facts.pop("final_obs", None)
        if self._final is not None:
            last, facts = self._final, facts["final_info"]
            # The name belongs to Gymnasium's RecordEpisodeStatistics.
            del facts["episode"]
        return last, float(reward[0]), bool(terminated[0]), bool(truncated[0]), facts

    def render(self) -> UInt8[np.ndarray, "H W 3"] | None:
        """Return the latest image in RGB."""
        if self._final is not None and self.render_mode is not None:
            final = self._final
            image = final["image"] if isinstance(final, dict) else final
            return self._envs.to_rgb(image)
        images = self._envs.render()
        return images[0] if images else None

    def close(self) -> None:
        """End the engine."""
        self._envs.close()


def _row(obs: Any) -> Any:
    """Return the first row of a batch of observations."""
    if isinstance(obs, dict):
        return {name: array[0] for name, array in obs.items()}
    return obs[0]
