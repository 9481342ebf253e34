"""Writes metrics and videos to TensorBoard event files."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxfactory.config import runs
from jaxfactory.metrics.patient_file import PatientFile


class TensorBoardWriter:
    """Writes scalars and videos for TensorBoard; the step is the number of frames."""

    def __init__(self, run_dir: Path) -> None:
        self._path = run_dir / runs.TENSORBOARD
        self._writer: Any = None
        self._file: PatientFile | None = None

    def begin(self, frames: int) -> None:
        """Open an event file that replaces everything after ``frames``."""
        from tensorboardX import SummaryWriter  # slow to import

        purge = frames + 1 if self._path.exists() else None
        # File names contain the time in whole seconds; without the suffix a quick
        # restart would overwrite the previous session's file.
        self._writer = SummaryWriter(
            str(self._path), purge_step=purge, filename_suffix=f".{frames}"
        )
        # An error in the thread that writes would end it, and then `add_scalar` would
        # wait for ever once its queue is full. That thread may be writing by now: it
        # holds the lock while it does.
        events = self._writer.file_writer.event_writer._ev_writer
        with events._lock:
            events._py_recordio_writer._writer.close()
            self._file = PatientFile(Path(events._file_name))
            events._py_recordio_writer._writer = self._file

    def write(self, metrics: Mapping[str, float], frames: int) -> None:
        """Add one scalar per finite metric; the library prints warnings for others.

        Raises:
            OSError: If earlier ones cannot be written to the disk now.
        """
        for name, value in metrics.items():
            if math.isfinite(value):
                self._writer.add_scalar(name, value, frames)
        assert self._file is not None
        self._file.check()

    def write_video(self, mp4: Path, gif: Path, frames: int) -> None:
        """Add the GIF, which TensorBoard shows as an image."""
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
        """Flush and close the event file."""
        if self._writer is not None:
            self._writer.close()
        if self._file is not None:
            self._file.check()
