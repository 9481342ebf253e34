"""What a pool answers to a step."""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int32, UInt8


class StepInfo(NamedTuple):
    """What comes with a step besides what is trained on; rows as in `Step`.

    Attributes:
        final_obs: Where an episode ended with this step, its last observation. Valid
            until the group's next `send`.
        final_measurements: As `final_obs`, of `Step.measurements`.
        raw_reward: The scenario's raw reward, before shaping and scaling.
        episode_shaped_return: Sum of `Step.reward` over the episode so far, this step
            included.
        episode_raw_return: Sum of `raw_reward` over the episode so far.
        episode_length: Tics of the episode so far.
        frags: Kills less suicides so far, in a match; elsewhere 0.
        place: 1 for the player with the most frags, in a match; elsewhere 0.
        game_variables: In the order of `EnvPool.variable_names`; of the state that
            `Step.reward` is for, so at an episode's end of its last state.
        restarted: The engine failed and was replaced.
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
        """`final_obs` and `final_measurements` as a policy takes them."""
        return observation(self.final_obs, self.final_measurements)


class Step(NamedTuple):
    """What the environments answered; the arrays are views into the pool's slabs.

    They stay as they are until `num_slabs * num_steps` further steps (by default 64)
    have been sent to their group, or until it is reset; copy what must live longer.
    Where an episode ended, `obs` is already the first observation of the next one.

    Attributes:
        obs: Pixels, and the depth, labels and automap buffers where they were asked
            for, as channels in this order.
        reward: Shaped and scaled; what is trained on.
        is_first: Whether `obs` opens an episode.
        measurements: Numbers beside the pixels; M is 0 where a scenario has none.
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
        """`obs` and `measurements` as a policy takes them."""
        return observation(self.obs, self.measurements)


def observation(
    image: UInt8[np.ndarray, "..."], measurements: Float32[np.ndarray, "..."]
) -> dict[str, np.ndarray]:
    """Return ``{"image": ..., "measurements": ...}``, without what has no entries."""
    parts = {"image": image, "measurements": measurements}
    return {name: array for name, array in parts.items() if array.shape[-1]}


def view(arrays: dict[str, np.ndarray], slab: int, slot: int, rows: slice) -> Step:
    """Return what some environments answered, as views of a pool's arrays.

    Args:
        arrays: By their names here; ``[slabs, slots, B, ...]``, but those whose names
            begin with ``final_``, which are ``[B, ...]``.
        slab: Which slab.
        slot: Which of its slots.
        rows: Which environments.
    """
    return of_fields(
        {
            name: array[rows] if name.startswith("final_") else array[slab, slot, rows]
            for name, array in arrays.items()
        }
    )


def of_fields(fields: dict[str, Any]) -> Step:
    """Return a step whose fields, and those of its `info`, are given by their names."""
    info = StepInfo(**{name: fields[name] for name in StepInfo._fields})
    own = {name: fields[name] for name in Step._fields if name != "info"}
    return Step(**own, info=info)
