"""Scaling and clipping of the training reward."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float


class TrainedReward(NamedTuple):
    """Scales rewards, then clips them.

    Returns are sums of the unscaled rewards, so they stay comparable. The C++ core does
    the same for rewards that it shapes itself.

    Attributes:
        scale: Multiplies rewards.
        clip: Rewards are clipped to [-clip, clip]; 0 turns clipping off.
    """

    scale: float = 1.0
    clip: float = 0.0

    def __call__(self, reward: Float[np.ndarray, "B"]) -> Float[np.ndarray, "B"]:
        """Return the training reward; the same array if nothing changes."""
        if self.scale != 1:
            reward = reward * self.scale
        return np.clip(reward, -self.clip, self.clip) if self.clip else reward
