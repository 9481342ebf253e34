"""Where metrics go: metrics.jsonl, TensorBoard, and several writers at once.

`terminal_writer` and `wandb_writer` have the others.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from jaxfactory._util import plain_files
from jaxfactory._util.errors import UserError
from jaxfactory.config import runs
from jaxfactory.metrics import metrics_file
from jaxfactory.metrics.terminal_writer import TerminalWriter as TerminalWriter


Metrics = Mapping[str, float]


@runtime_checkable
class Writer(Protocol):
    """Takes the metrics of every iteration."""

    def begin(self, frames: int) -> None:
        """Start a session that goes on from ``frames``; called once, first."""

    def write(self, metrics: Metrics, frames: int) -> None:
        """Take the metrics that hold after ``frames``."""

    def close(self) -> None:
        """Write what is left; nothing is written afterwards."""


@runtime_checkable
class Notes(Protocol):
    """A writer that shows what happens, too."""

    def note(self, text: str) -> None:
        """Show one line."""


@runtime_checkable
class Videos(Protocol):
    """A writer that takes videos, too."""

    def write_video(self, mp4: Path, gif: Path, frames: int) -> None:
        """Take a video of the policy that holds after ``frames``, in both forms."""


class CompositeWriter:
    """Hands everything to several writers; a context manager that closes them."""

    def __init__(self, *writers: Writer) -> None:
        self._writers = writers

    def begin(self, frames: int) -> None:
        """Begin every writer."""
        for writer in self._writers:
            writer.begin(frames)

    def write(self, metrics: Metrics, frames: int) -> None:
        """Write to every writer."""
        for writer in self._writers:
            writer.write(metrics, frames)

    def note(self, text: str) -> None:
        """Give a line to the writers that show any."""
        for writer in self._writers:
            if isinstance(writer, Notes):
                writer.note(text)

    def write_video(self, mp4: Path, gif: Path, frames: int) -> None:
        """Give a video to the writers that take any."""
        for writer in self._writers:
            if isinstance(writer, Videos):
                writer.write_video(mp4, gif, frames)

    def close(self) -> None:
        """Close every writer, the last one first."""
        for writer in reversed(self._writers):
            writer.close()

    def __enter__(self) -> "CompositeWriter":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


class JsonlWriter:
    """Appends one JSON object a write to the run's metrics.jsonl.

    A number that JSON cannot hold (NaN, infinity) is written as null.
    """

    def __init__(self, run_dir: Path) -> None:
        self._path = run_dir / runs.METRICS
        self._file: Any = None

    def begin(self, frames: int) -> None:
        """Drop the lines past ``frames``: they were not saved and come again."""
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
        self._file = self._path.open("a")

    def write(self, metrics: Metrics, frames: int) -> None:
        """Append one line."""
        values = {
            name: value if math.isfinite(value) else None
            for name, value in metrics.items()
        }
        self._file.write(json.dumps({"frames": frames, **values}) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()


def _line_frames(line: str) -> float:
    """Frames of a line; infinite if a killed process left half of it."""
    row = metrics_file.parse(line)
    return math.inf if row is None else row["frames"]


class TensorBoardWriter:
    """Writes scalars for TensorBoard; its step is the frames."""

    def __init__(self, run_dir: Path) -> None:
        self._path = run_dir / runs.TENSORBOARD
        self._writer: Any = None

    def begin(self, frames: int) -> None:
        """Open an event file that takes the place of everything past ``frames``."""
        from tensorboardX import SummaryWriter  # slow to import

        purge = frames + 1 if self._path.exists() else None
        # File names carry only whole seconds; without the suffix a quick restart
        # would overwrite the file of the session before it.
        self._writer = SummaryWriter(
            str(self._path), purge_step=purge, filename_suffix=f".{frames}"
        )

    def write(self, metrics: Metrics, frames: int) -> None:
        """Add one scalar a metric."""
        for name, value in metrics.items():
            self._writer.add_scalar(name, value, frames)

    def write_video(self, mp4: Path, gif: Path, frames: int) -> None:
        """Add the GIF, which TensorBoard plays among its images."""
        from tensorboardX.proto.summary_pb2 import Summary

        from jaxfactory.metrics.gif import size_of

        data = gif.read_bytes()
        width, height = size_of(data)
        image = Summary.Image(
            width=width, height=height, colorspace=3, encoded_image_string=data
        )
        summary = Summary(value=[Summary.Value(tag="video", image=image)])
        self._writer.file_writer.add_summary(summary, frames)

    def close(self) -> None:
        """Write what is buffered and close the event file."""
        if self._writer is not None:
            self._writer.close()
