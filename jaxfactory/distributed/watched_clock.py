"""A clock for deadlines that a pause of the process does not expire."""

import time
from collections.abc import Callable


class WatchedClock:
    """Seconds, by someone who looks often.

    A longer gap between two looks counts as `longest` seconds: meanwhile the container,
    the machine or all processes were paused, and nobody can have answered.

    Args:
        longest: Seconds between two looks that count.
        clock: Returns seconds.
    """

    def __init__(
        self, longest: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._longest = longest
        self._clock = clock
        self._last = clock()
        self._passed = 0.0

    def __call__(self) -> float:
        """Return the seconds that have passed."""
        now = self._clock()
        self._passed += min(now - self._last, self._longest)
        self._last = now
        return self._passed
