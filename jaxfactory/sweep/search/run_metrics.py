"""Reads a run's metrics while it writes them."""

import math
from collections.abc import Iterator
from pathlib import Path

from jaxfactory._util import plain_files
from jaxfactory.config import runs
from jaxfactory.metrics import metrics_file


class MetricsTail:
    """The training metrics of a run so far, read bit by bit.

    Attributes:
        frames: Of the last row.
        minutes: Of the run, in the last row.
        raw_return: The last mean over episodes; NaN before one has ended.
    """

    def __init__(self, run_dir: Path):
        """Read nothing yet.

        Args:
            run_dir: The run.
        """
        self._path = run_dir / runs.METRICS
        self._offset = 0
        self._rows: list[tuple[float, float, float]] = []

    @property
    def frames(self) -> float:
        """Frames of the last row; 0 before the first."""
        return self._rows[-1][0] if self._rows else 0.0

    @property
    def minutes(self) -> float:
        """Minutes of training in the last row; 0 before the first."""
        return self._rows[-1][1] if self._rows else 0.0

    @property
    def raw_return(self) -> float:
        """The last mean raw return of training episodes; NaN before one has ended."""
        found = (value for _, _, value in reversed(self._rows) if math.isfinite(value))
        return next(found, math.nan)

    def read(self) -> None:
        """Read the rows that were written since the last call."""
        try:
            with plain_files.open_regular(self._path) as file:
                if file.seek(0, 2) < self._offset:  # A resumed run has cut it short.
                    self._offset, self._rows = 0, []
                file.seek(self._offset)
                data = file.read()
        except (OSError, ValueError):
            return
        complete = data[: data.rfind(b"\n") + 1]
        self._offset += len(complete)
        for line in complete.decode(errors="replace").splitlines():
            row = metrics_file.parse(line)
            # Lines without this are evaluations.
            if row is None or "time/wall_clock" not in row:
                continue
            self._rows.append(
                (
                    float(row.get("frames") or 0),
                    float(row["time/wall_clock"]) / 60,
                    float(row.get("episode/raw_return", math.nan)),
                )
            )

    def at_fractions(self, parts: int, frames: int) -> Iterator[tuple[int, float]]:
        """Yield the raw return at each of equal parts of a run, as far as it has come.

        Args:
            parts: Number of parts.
            frames: Frames of the whole run.

        Yields:
            The number of the part, from 1, and the raw return in the first row that
            completes it.
        """
        part = 1
        for done, _, value in self._rows:
            while part <= parts and done * parts >= part * frames:
                if math.isfinite(value):
                    yield part, value
                part += 1

    def reached(self, target: float) -> bool:
        """Whether the raw return has ever been at least so high."""
        return math.isfinite(self.minutes_to(target))

    def minutes_to(self, target: float) -> float:
        """Return the minutes until the raw return was so high; infinity if never."""
        found = (at for _, at, value in self._rows if value >= target)
        return next(found, math.inf)
