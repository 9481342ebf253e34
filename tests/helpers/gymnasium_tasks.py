"""Tiny environments of Gymnasium's kind, registered by importing this module."""

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces


class Task(gymnasium.Env):
    """Shows something, pays for one action, and ends."""

    def reset(self, *, seed: int | None = None, options: Any = None):
        super().reset(seed=seed)
        return self.observe(), {}

    def step(self, action: Any):
        reward = float(self.reward(action))
        return self.observe(), reward, True, False, {}

    def observe(self) -> Any:
        raise NotImplementedError

    def reward(self, action: Any) -> float:
        raise NotImplementedError


class Aim(Task):
    """One number, which must be 1 + 2 x; its box is not centered at 0."""

    observation_space = spaces.Box(-1.0, 1.0, (1,), np.float32)
    action_space = spaces.Box(-2.0, 4.0, (1,), np.float64)

    def observe(self):
        self._x = self.np_random.uniform(-1, 1, 1).astype(np.float32)
        return self._x

    def reward(self, action):
        assert self.action_space.contains(action)
        return 1 - abs(action[0] - (1 + 2 * self._x[0]))


class Everything(Task):
    """A choice, a number and two switches at once; each is worth 1."""

    observation_space = spaces.Dict(
        {
            "choice": spaces.Discrete(3, start=1),
            "level": spaces.Box(-1.0, 1.0, (1,), np.float32),
            "switches": spaces.MultiBinary(2),
        }
    )
    action_space = spaces.Tuple(
        (
            spaces.Discrete(3, start=5),
            spaces.Box(-1.0, 1.0, (1,), np.float32),
            spaces.MultiBinary(2),
        )
    )

    def observe(self):
        self._seen = {
            "choice": self.np_random.integers(1, 4),
            "level": self.np_random.uniform(-1, 1, 1).astype(np.float32),
            "switches": self.np_random.integers(2, size=2).astype(np.int8),
        }
        return self._seen

    def reward(self, action):
        choice, level, switches = action
        return (
            (choice - 4 == self._seen["choice"])
            + max(0.0, 1 - abs(level[0] - self._seen["level"][0]))
            + (switches == self._seen["switches"]).mean()
        )


class Corner(Task):
    """A channels-first image whose bright quarter is to be named."""

    observation_space = spaces.Box(0, 255, (1, 12, 10), np.uint8)
    action_space = spaces.MultiDiscrete([2, 2])

    def observe(self):
        self._corner = self.np_random.integers(2, size=2)
        image = np.zeros((1, 12, 10), np.uint8)
        y, x = self._corner * (6, 5)
        image[0, y : y + 6, x : x + 5] = 255
        return image

    def reward(self, action):
        return (action == self._corner).mean()


class Counter(gymnasium.Env):
    """Shows its seed's first number and the time; truncated after three steps."""

    observation_space = spaces.Box(0.0, np.inf, (2,), np.float64)
    action_space = spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: Any = None):
        super().reset(seed=seed)
        self._number, self._time = self.np_random.integers(1000), 0
        return self._observe(), {}

    def step(self, action: Any):
        self._time += 1
        reward = self._time + 10.0 * action
        return self._observe(), reward, False, self._time == 3, {"time": self._time}

    def _observe(self):
        return np.array([self._number, self._time], np.float64)


for task in (Aim, Everything, Corner, Counter):
    name = f"test/{task.__name__}-v0"
    if name not in gymnasium.registry:
        gymnasium.register(name, entry_point=f"{__name__}:{task.__name__}")
COUNTER = "gymnasium:gymnasium_tasks:test/Counter-v0"
