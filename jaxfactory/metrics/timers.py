"""Timers: seconds per named phase, and frames per second."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Stopwatch:
    """Accumulates the seconds spent in named phases until it is drained.

    Args:
        clock: Returns the current time in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._seconds: dict[str, float] = {}

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Add the block's duration to the phase ``name``."""
        start = self._clock()
        try:
            yield
        finally:
            elapsed = self._clock() - start
            self._seconds[name] = self._seconds.get(name, 0.0) + elapsed

    def drain(self) -> dict[str, float]:
        """Return ``{"time/<phase>": seconds}`` and reset to zero."""
        result = {f"time/{name}": value for name, value in self._seconds.items()}
        self._seconds.clear()
        return result


class Throughput:
    """Frames per second over the last interval and over the session.

    Args:
        frames: Frames of earlier sessions, at which the count starts.
        seconds: Duration of earlier sessions in seconds.
        clock: Returns the current time in seconds.
    """

    def __init__(
        self,
        frames: int = 0,
        seconds: float = 0.0,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._clock = clock
        self._earlier = seconds
        self._first = self._last = (clock(), frames)

    @property
    def seconds(self) -> float:
        """Wall-clock seconds, summed over all sessions."""
        return self._earlier + self._clock() - self._first[0]

    def update(self, frames: int) -> dict[str, float]:
        """End the current interval at ``frames`` and return its metrics."""
        now = self._clock()
        (first_time, first_frames), (last_time, last_frames) = self._first, self._last
        self._last = (now, frames)
        return {
            "throughput/frames_per_second": _rate(
                frames - last_frames, now - last_time
            ),
            "throughput/frames_per_second_overall": _rate(
                frames - first_frames, now - first_time
            ),
            "time/wall_clock": self._earlier + now - first_time,
        }


def _rate(frames: int, seconds: float) -> float:
    return frames / seconds if seconds > 0 else 0.0
