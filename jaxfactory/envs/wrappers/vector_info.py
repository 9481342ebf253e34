"""Builds the ``info`` dictionaries of `DoomVectorEnv`."""

import time
from typing import Any

import numpy as np

from jaxfactory.envs.step import Step


class InfoBuilder:
    """Builds the ``info`` that `vector_env.DoomVectorEnv` documents.

    Args:
        num_envs: Environments, B.
    """

    def __init__(self, num_envs: int):
        self._everywhere = np.ones(num_envs, bool)
        self._everywhere.flags.writeable = False
        self._steps = np.zeros(num_envs, np.int64)
        self._began = np.zeros(num_envs)

    def reset(self, step: Step) -> dict[str, Any]:
        """Return the info after a reset of every environment."""
        self._steps[:] = 0
        self._began[:] = time.perf_counter()
        return {
            "game_variables": step.info.game_variables.copy(),
            "_game_variables": self._everywhere.copy(),
        }

    def step(self, step: Step) -> dict[str, Any]:
        """Return the info after a step of every environment."""
        self._steps += 1
        ended = step.terminated | step.truncated
        if not ended.any():
            return {
                "raw_reward": step.info.raw_reward.copy(),
                "_raw_reward": self._everywhere.copy(),
                "game_variables": step.info.game_variables.copy(),
                "_game_variables": self._everywhere.copy(),
            }
        info: dict[str, Any] = {}
        # Where an episode ended, `info` describes the next one, which has just started.
        going = ~ended
        _add(info, going, "raw_reward", step.info.raw_reward)
        _add(info, going, "game_variables", step.info.game_variables)
        final_obs = np.full(len(ended), None, dtype=object)
        last = step.info.final_observation
        for row in np.flatnonzero(ended):
            one = {name: array[row] for name, array in last.items()}
            final_obs[row] = parts(one, copy=True)
        info["final_obs"], info["_final_obs"] = final_obs, ended.copy()
        info["final_info"] = self._final_info(step, ended)
        info["_final_info"] = ended.copy()
        return info

    def _final_info(self, step: Step, ended: np.ndarray) -> dict[str, Any]:
        now = time.perf_counter()
        episode: dict[str, Any] = {}
        _add(episode, ended, "r", step.info.episode_shaped_return.astype(np.float64))
        _add(episode, ended, "l", self._steps)
        _add(episode, ended, "t", now - self._began)
        final: dict[str, Any] = {}
        _add(final, ended, "raw_reward", step.info.raw_reward)
        _add(final, ended, "game_variables", step.info.game_variables)
        _add(final, ended, "raw_return", step.info.episode_raw_return)
        _add(final, ended, "tics", step.info.episode_length)
        final["episode"], final["_episode"] = episode, ended.copy()
        self._steps[ended] = 0
        self._began[ended] = now
        return final


def parts(observation: dict[str, np.ndarray], *, copy: bool) -> Any:
    """Return an observation in the form of its space: an array or a dictionary."""
    if copy:
        observation = {name: array.copy() for name, array in observation.items()}
    return observation["image"] if len(observation) == 1 else observation


def of_row(info: dict[str, Any], row: int) -> dict[str, Any]:
    """Return one environment's part of a batch's info."""
    result: dict[str, Any] = {}
    for key, value in info.items():
        if key.startswith("_") or not info[f"_{key}"][row]:
            continue
        whole = isinstance(value, dict)
        result[key] = of_row(value, row) if whole else value[row]
    return result


def _add(info: dict[str, Any], where: np.ndarray, key: str, values: np.ndarray) -> None:
    """Add values for some environments, zeros elsewhere, and the mask."""
    kept = values.copy()
    kept[~where] = 0
    info[key], info[f"_{key}"] = kept, where.copy()
