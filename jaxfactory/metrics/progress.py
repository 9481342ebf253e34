"""How far a training run has come."""

import time
from collections.abc import Callable, Iterable
from typing import Any

from jaxfactory.metrics.episodes import Episode, EpisodeStats
from jaxfactory.metrics.timers import Throughput


class Progress:
    """Frames, wall-clock seconds and the last episodes of a training run.

    Attributes:
        frames: Frames trained on, earlier sessions included.
        episodes: The window of the last 100 episodes.

    Args:
        clock: Returns seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self.frames = 0
        self.episodes = EpisodeStats()
        self._throughput = Throughput(clock=clock)

    @property
    def seconds(self) -> float:
        """Wall-clock seconds of all sessions together."""
        return self._throughput.seconds

    def add(self, frames: int, episodes: Iterable[Episode]) -> None:
        """Count an iteration.

        Args:
            frames: Frames trained on so far.
            episodes: Those that ended in its rollout, oldest first.
        """
        self.frames = frames
        self.episodes.extend(episodes)

    def metrics(self) -> dict[str, float]:
        """Return the episodes' metrics and the speed since the last call."""
        return {**self.episodes.metrics(), **self._throughput.update(self.frames)}

    def state(self) -> dict[str, Any]:
        """Return what `resume` needs, ready for JSON."""
        return {
            "frames": self.frames,
            "seconds": self.seconds,
            "episodes": self.episodes.state(),
        }

    def resume(self, state: dict[str, Any]) -> None:
        """Continue from what `state` returned."""
        self.frames = int(state["frames"])
        self.episodes.load(state["episodes"])
        seconds = float(state["seconds"])
        self._throughput = Throughput(self.frames, seconds, self._clock)
