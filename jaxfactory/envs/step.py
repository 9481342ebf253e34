"""The result of a pool's step: observations, rewards, episode ends, info."""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int32, UInt8

from jaxfactory.spec import EnvSpec


class StepInfo(NamedTuple):
    """The part of a step that training does not use; rows as in `Step`.

    Attributes:
        final_obs: The last observation of each episode that ended with this step. Valid
            until the group's next `send`.
        final_measurements: As `final_obs`, for `Step.measurements`.
        raw_reward: The scenario's raw reward, before shaping and scaling.
        episode_shaped_return: Sum of the shaped rewards over the episode so far, this
            step included; without `EnvConfig.reward_scale` and `EnvConfig.reward_clip`.
        episode_raw_return: Sum of `raw_reward` over the episode so far.
        episode_length: Length of the episode so far in tics.
        frags: Kills minus suicides so far, in a match; elsewhere 0.
        place: 1 for the player with the most frags, in a match; elsewhere 0.
        game_variables: Values after the action, in the order of
            `EnvPool.variable_names`; if an episode ended, those of its last state.
        restarted: Whether the engine failed and was replaced.
    """

    final_obs: UInt8[np.ndarray, "B H W C"]
    final_measurements: Float32[np.ndarray, "B M"]
    raw_reward: Float64[np.ndarray, " B"]
    episode_shaped_return: Float32[np.ndarray, " B"]
    episode_raw_return: Float32[np.ndarray, " B"]
    episode_length: Int32[np.ndarray, " B"]
    frags: Int32[np.ndarray, " B"]
    place: Int32[np.ndarray, " B"]
    game_variables: Float64[np.ndarray, "B V"]
    restarted: Bool[np.ndarray, " B"]

    @property
    def final_observation(self) -> dict[str, np.ndarray]:
        """`final_obs` and `final_measurements` as the input of a policy."""
        return observation(self.final_obs, self.final_measurements)


class Step(NamedTuple):
    """The result of a step; its arrays are views into the pool's slabs.

    They stay valid for `num_slabs * num_steps` further steps (by default 64) of their
    group, or until a reset; copy what you need for longer. Autoreset is SAME_STEP: when
    an episode ends, `obs` is already the first observation of the next one.

    Attributes:
        obs: Pixels, then the depth, labels and automap buffers if configured, as
            channels.
        reward: The training reward: shaped, scaled and clipped.
        is_first: Whether `obs` is the first of an episode.
        measurements: Vector next to the image; M is 0 if a scenario has none.
    """

    obs: UInt8[np.ndarray, "B H W C"]
    reward: Float32[np.ndarray, " B"]
    terminated: Bool[np.ndarray, " B"]
    truncated: Bool[np.ndarray, " B"]
    is_first: Bool[np.ndarray, " B"]
    measurements: Float32[np.ndarray, "B M"]
    info: StepInfo

    @property
    def observation(self) -> dict[str, np.ndarray]:
        """`obs` and `measurements` as the input of a policy."""
        return observation(self.obs, self.measurements)


def observation(
    image: UInt8[np.ndarray, "..."], measurements: Float32[np.ndarray, "..."]
) -> dict[str, np.ndarray]:
    """Return ``{"image": ..., "measurements": ...}``, without empty parts."""
    parts = {"image": image, "measurements": measurements}
    return {name: array for name, array in parts.items() if array.shape[-1]}


def view(arrays: dict[str, np.ndarray], slab: int, slot: int, rows: slice) -> Step:
    """Return the step in one slot of a pool's arrays, as views.

    Args:
        arrays: By field name, ``[slabs, slots, B, ...]``; those whose names begin with
            ``final_`` are ``[B, ...]``.
        slab: Index of the slab.
        slot: Index of the slot.
        rows: The environments.
    """
    return of_fields(
        {
            name: array[rows] if name.startswith("final_") else array[slab, slot, rows]
            for name, array in arrays.items()
        }
    )


def of_fields(fields: dict[str, Any]) -> Step:
    """Build a step from its fields and those of its `info`, given by name."""
    info = StepInfo(**{name: fields[name] for name in StepInfo._fields})
    own = {name: fields[name] for name in Step._fields if name != "info"}
    return Step(**own, info=info)


def make_arrays(
    spec: EnvSpec, slabs: int, slots: int, num_envs: int
) -> dict[str, np.ndarray]:
    """Return zeroed arrays for a pool, by field name.

    Args:
        spec: Shapes of observations.
        slabs: Number of slabs.
        slots: Slots of a slab: its steps and the observation before them.
        num_envs: Environments, B.
    """
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
