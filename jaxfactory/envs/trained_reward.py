"""From the reward of a decision to the one that is trained on."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from jaxfactory.config.env import EnvConfig


class TrainedReward(NamedTuple):
    """Scales rewards, then limits their absolute value.

    Returns are summed up before it, so that they can be compared whatever it does. The
    C++ core has the same for what it shapes itself.

    Attributes:
        scale: Multiplies rewards.
        clip: Bound of the result's absolute value; 0 for none.
    """

    scale: float = 1.0
    clip: float = 0.0

    @classmethod
    def of(cls, config: EnvConfig) -> "TrainedReward":
        """Return the one that settings ask for."""
        return cls(config.reward_scale, config.reward_clip)

    def __call__(self, reward: Float[np.ndarray, "B"]) -> Float[np.ndarray, "B"]:
        """Return what is trained on; the same array where nothing is to be done."""
        if self.scale != 1:
            reward = reward * self.scale
        return np.clip(reward, -self.clip, self.clip) if self.clip else reward
