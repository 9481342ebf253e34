"""What is counted on the host: ended episodes, named times, frames per second."""

import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol, runtime_checkable


WINDOW = 100


@runtime_checkable
class Episode(Protocol):
    """An ended episode, as the sampler reports it."""

    @property
    def shaped_return(self) -> float:
        """Sum of the shaped rewards."""

    @property
    def raw_return(self) -> float:
        """Sum of the scenario's raw rewards."""

    @property
    def length(self) -> int:
        """Frames."""

    @property
    def frags(self) -> int:
        """In a match, kills less suicides."""

    @property
    def place(self) -> int:
        """In a match, 1 for the player with the most frags; elsewhere 0."""


class Summary(NamedTuple):
    """Mean, population standard deviation and extremes of a window."""

    mean: float
    std: float
    min: float
    max: float


class EpisodeStats:
    """A running window of the last 100 ended episodes.

    Args:
        window: Number of episodes that are remembered.
    """

    FIELDS = ("shaped_return", "raw_return", "length")
    MATCH_FIELDS = ("frags", "place")

    def __init__(self, window: int = WINDOW) -> None:
        # Two numbers longer for an episode of a match.
        self._rows: deque[tuple[float, ...]] = deque(maxlen=window)
        self._total = 0

    @property
    def total(self) -> int:
        """Episodes ended since training began, resumed runs included."""
        return self._total

    @property
    def full(self) -> bool:
        """Whether the window holds as many episodes as it can."""
        return len(self._rows) == self._rows.maxlen

    def extend(self, episodes: Iterable[Episode]) -> None:
        """Add ended episodes, oldest first."""
        for episode in episodes:
            row = (episode.shaped_return, episode.raw_return, episode.length)
            if episode.place:
                row += (episode.frags, episode.place)
            self._rows.append(tuple(map(float, row)))
            self._total += 1

    def summary(self, name: str) -> Summary:
        """Summarise one of the fields over the window.

        Every number is NaN as long as no episode (for `MATCH_FIELDS`: of a match) has
        ended.
        """
        column = (*self.FIELDS, *self.MATCH_FIELDS).index(name)
        values = [row[column] for row in self._rows if len(row) > column]
        if not values:
            return Summary(math.nan, math.nan, math.nan, math.nan)
        mean = math.fsum(values) / len(values)
        variance = math.fsum((value - mean) ** 2 for value in values) / len(values)
        return Summary(mean, math.sqrt(variance), min(values), max(values))

    def metrics(self) -> dict[str, float]:
        """Return the window as metrics; none before the first episode has ended."""
        if not self._rows:
            return {}
        result: dict[str, float] = {"episode/count": float(self._total)}
        in_match = len(self._rows[-1]) > len(self.FIELDS)
        for name in self.FIELDS + (self.MATCH_FIELDS if in_match else ()):
            summary = self.summary(name)
            result[f"episode/{name}"] = summary.mean
            result[f"episode/{name}_std"] = summary.std
            result[f"episode/{name}_min"] = summary.min
            result[f"episode/{name}_max"] = summary.max
        return result

    def state(self) -> dict[str, Any]:
        """Return what `load` needs, ready for JSON."""
        return {"total": self._total, "rows": [list(row) for row in self._rows]}

    def load(self, state: dict[str, Any]) -> None:
        """Take over what `state` returned."""
        self._total = int(state["total"])
        self._rows.clear()
        self._rows.extend(tuple(map(float, row)) for row in state["rows"])


class Stopwatch:
    """Seconds spent in named phases since they were last drained.

    Args:
        clock: Returns seconds.
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
        """Return ``{"time/<phase>": seconds}`` and start again from zero."""
        result = {f"time/{name}": value for name, value in self._seconds.items()}
        self._seconds.clear()
        return result


class Throughput:
    """Frames per second over the last interval and since the start.

    Args:
        frames: Frames that the count begins with: those of an earlier session.
        seconds: Seconds that the earlier sessions took.
        clock: Returns seconds.
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
        """Wall-clock seconds of all sessions together."""
        return self._earlier + self._clock() - self._first[0]

    def update(self, frames: int) -> dict[str, float]:
        """Close an interval that ends at ``frames`` and return its metrics."""
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
