"""An environment that costs next to nothing: it counts, and shows the same image.

As Gymnasium's ``splitting.counting:Counting-v0``; with it, training consists of acting
and updating.
"""

from typing import Any

import gymnasium
import numpy as np


_LENGTH = 300


class Counting(gymnasium.Env):
    """Episodes of equal length, in images of Doom's size."""

    observation_space = gymnasium.spaces.Box(0, 255, (72, 128, 3), np.uint8)
    action_space = gymnasium.spaces.Discrete(5)

    def __init__(self) -> None:
        self._image = np.zeros((72, 128, 3), np.uint8)
        self._steps = 0

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> Any:
        """Begin to count."""
        super().reset(seed=seed)
        self._steps = 0
        return self._image, {}

    def step(self, action: int) -> Any:
        """Count, and reward every other action."""
        self._steps += 1
        return self._image, float(action % 2), self._steps >= _LENGTH, False, {}


gymnasium.register("Counting-v0", Counting)
