"""Writes metrics to the run's metrics.jsonl, one JSON object per line."""

import json
import math
from collections.abc import Mapping
from pathlib import Path

from jaxfactory._util import plain_files
from jaxfactory._util.errors import UserError
from jaxfactory.config import runs
from jaxfactory.metrics import metrics_file
from jaxfactory.metrics.patient_file import PatientFile


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
                with plain_files.open_regular(self._path) as file:
                    text = file.read().decode(errors="replace")
            except ValueError as error:
                raise UserError(
                    f"{self._path} cannot be read: {error}; move it away"
                ) from error
            kept = [line for line in text.splitlines() if _line_frames(line) <= frames]
            runs.write_atomically(self._path, "".join(f"{line}\n" for line in kept))
        self._file = PatientFile(self._path)

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


def _line_frames(line: str) -> float:
    """Return a line's frames; infinity if the line is incomplete."""
    row = metrics_file.parse(line)
    return math.inf if row is None else row["frames"]
