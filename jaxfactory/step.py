"""What a pool answers to a step."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int32, UInt8


class StepInfo(NamedTuple):
    """What comes with a step besides what is trained on; rows as in `Step`.

    Attributes:
        final_obs: Where an episode ended with this step, its last observation. Valid
            until the group's next `send`.
        own_reward: The scenario's own reward, before shaping and scaling.
        episode_return: Sum of `Step.reward` over the episode so far, this step
            included.
        episode_own_return: Sum of `own_reward` over the episode so far.
        episode_length: Tics of the episode so far.
        game_variables: In the order of `EnvPool.variable_names`; of the state that
            `Step.reward` is for, so at an episode's end of its last state.
        restarted: The engine failed and was replaced.
    """

    final_obs: UInt8[np.ndarray, "B H W C"]
    own_reward: Float64[np.ndarray, " B"]
    episode_return: Float32[np.ndarray, " B"]
    episode_own_return: Float32[np.ndarray, " B"]
    episode_length: Int32[np.ndarray, " B"]
    game_variables: Float64[np.ndarray, "B V"]
    restarted: Bool[np.ndarray, " B"]


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
    """

    obs: UInt8[np.ndarray, "B H W C"]
    reward: Float32[np.ndarray, " B"]
    terminated: Bool[np.ndarray, " B"]
    truncated: Bool[np.ndarray, " B"]
    is_first: Bool[np.ndarray, " B"]
    info: StepInfo
