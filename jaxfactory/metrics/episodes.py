"""Statistics of the last episodes that ended in training."""

import math
from collections import deque
from collections.abc import Iterable
from typing import Any, NamedTuple, Protocol, runtime_checkable


WINDOW = 100


@runtime_checkable
class Episode(Protocol):
    """A finished episode, as the sampler reports it."""

    @property
    def shaped_return(self) -> float:
        """Sum of the shaped rewards."""

    @property
    def raw_return(self) -> float:
        """Sum of the scenario's own, unshaped rewards."""

    @property
    def length(self) -> int:
        """Number of frames."""

    @property
    def frags(self) -> int:
        """In a match, kills minus suicides."""

    @property
    def place(self) -> int:
        """In a match, rank by frags, from 1; outside of matches 0."""


class Summary(NamedTuple):
    """Mean, population standard deviation, minimum and maximum of a window."""

    mean: float
    std: float
    min: float
    max: float


class EpisodeStats:
    """A sliding window over the last finished episodes.

    Args:
        window: Number of episodes in the window.
    """

    FIELDS = ("shaped_return", "raw_return", "length")
    MATCH_FIELDS = ("frags", "place")

    def __init__(self, window: int = WINDOW) -> None:
        # Rows of match episodes have two more numbers.
        self._rows: deque[tuple[float, ...]] = deque(maxlen=window)
        self._total = 0

    @property
    def total(self) -> int:
        """Number of episodes since training began, earlier sessions included."""
        return self._total

    @property
    def full(self) -> bool:
        """Whether the window has reached its size."""
        return len(self._rows) == self._rows.maxlen

    def extend(self, episodes: Iterable[Episode]) -> None:
        """Add finished episodes, oldest first."""
        for episode in episodes:
            row = (episode.shaped_return, episode.raw_return, episode.length)
            if episode.place:
                row += (episode.frags, episode.place)
            self._rows.append(tuple(map(float, row)))
            self._total += 1

    def summary(self, name: str) -> Summary:
        """Summarize one field over the window.

        Every number is NaN until an episode (for `MATCH_FIELDS`, a match) has ended.
        """
        column = (*self.FIELDS, *self.MATCH_FIELDS).index(name)
        values = [row[column] for row in self._rows if len(row) > column]
        if not values:
            return Summary(math.nan, math.nan, math.nan, math.nan)
        mean = math.fsum(values) / len(values)
        variance = math.fsum((value - mean) ** 2 for value in values) / len(values)
        return Summary(mean, math.sqrt(variance), min(values), max(values))

    def win_rate(self) -> float:
        """Return the share of the window's matches that ended in the first place.

        NaN until a match has ended.
        """
        places = [row[-1] for row in self._rows if len(row) > len(self.FIELDS)]
        return places.count(1.0) / len(places) if places else math.nan

    def clear(self) -> None:
        """Empty the window; the total stays."""
        self._rows.clear()

    def metrics(self) -> dict[str, float]:
        """Return the window as metrics; empty before the first episode has ended."""
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
        """Return the window as JSON-serializable data for `load`."""
        return {"total": self._total, "rows": [list(row) for row in self._rows]}

    def load(self, state: dict[str, Any]) -> None:
        """Restore the window from the result of `state`."""
        self._total = int(state["total"])
        self._rows.clear()
        self._rows.extend(tuple(map(float, row)) for row in state["rows"])
