"""Writes metrics to the run's metrics.jsonl, one JSON object per line."""

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path

from jaxfactory._util import plain_files
from jaxfactory._util.errors import UserError
from jaxfactory.config import runs
from jaxfactory.metrics import metrics_file
from jaxfactory.metrics.patient_file import PatientFile


_WRITTEN = re.compile(rb'\{"frames": ([0-9]{1,18})(?:, [^{}]*)?\}\n')


class JsonlWriter:
    """Appends one JSON object per write to the run's metrics.jsonl.

    NaN and infinity, which JSON does not have, are written as null. On a full disk,
    lines are kept and written later.
    """

    def __init__(self, run_dir: Path) -> None:
        self._path = run_dir / runs.METRICS
        self._file: PatientFile | None = None

    def begin(self, frames: int) -> None:
        """Drop lines after ``frames``: training from the checkpoint repeats them."""
        if self._path.exists():
            try:
                self._drop_after(frames)
            except ValueError as error:
                raise UserError(
                    f"{self._path} cannot be read: {error}; move it away"
                ) from error
        self._file = PatientFile(self._path)

    def _drop_after(self, frames: int) -> None:
        # Line by line: after a week of training, the file has gigabytes.
        with (
            plain_files.open_regular(self._path) as old,
            plain_files.replacing(self._path) as new,
        ):
            for line in metrics_file.lines(old):
                if _line_frames(line) <= frames:
                    new.write(line.rstrip(b"\n") + b"\n")

    def write(self, metrics: Mapping[str, float], frames: int) -> None:
        """Append one line.

        Raises:
            OSError: If it cannot be written now.
        """
        assert self._file is not None
        values = {
            name: value if math.isfinite(value) else None
            for name, value in metrics.items()
        }
        line = json.dumps({"frames": frames, **values}) + "\n"
        self._file.write(line.encode())
        self._file.flush()
        self._file.check()

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file.check()


def _line_frames(line: bytes) -> float:
    """Return a line's frames; infinity if the line is incomplete."""
    # As `write` has written it; parsing takes a hundred times as long.
    if (match := _WRITTEN.fullmatch(line)) is not None:
        return float(match[1])
    row = metrics_file.parse(line)
    return math.inf if row is None else row["frames"]
