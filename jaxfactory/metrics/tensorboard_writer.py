"""Writes metrics and videos to TensorBoard event files."""

import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxfactory.config import runs
from jaxfactory.metrics.patient_file import PatientFile


class TensorBoardWriter:
    """Writes scalars and videos for TensorBoard; the step is the number of frames.

    Writes the file itself: tensorboardX's `SummaryWriter` takes two threads, and waits
    forever where the system allows no more of them.
    """

    def __init__(self, run_dir: Path) -> None:
        self._path = run_dir / runs.TENSORBOARD
        self._events: Any = None
        self._file: PatientFile | None = None

    def begin(self, frames: int) -> None:
        """Open an event file that replaces everything after ``frames``."""
        from tensorboardX.event_file_writer import EventsWriter  # slow to import
        from tensorboardX.proto.event_pb2 import SessionLog

        resumes = self._path.exists()
        self._path.mkdir(exist_ok=True)
        # File names contain the time in whole seconds; without the suffix a quick
        # restart would overwrite the previous session's file.
        self._events = EventsWriter(str(self._path / "events"), f".{frames}")
        records = self._events._py_recordio_writer
        records._writer.close()
        self._file = records._writer = PatientFile(Path(self._events._file_name))
        if resumes:
            start = SessionLog(status=SessionLog.START)
            self._write(frames + 1, file_version="brain.Event:2")
            self._write(frames + 1, session_log=start)

    def _write(self, frames: int, **content: Any) -> None:
        from tensorboardX.proto.event_pb2 import Event

        event = Event(wall_time=time.time(), step=frames, **content)
        self._events.write_event(event)

    def write(self, metrics: Mapping[str, float], frames: int) -> None:
        """Add one scalar per finite metric.

        Raises:
            OSError: If they cannot be written to the disk now.
        """
        from tensorboardX.proto.summary_pb2 import Summary

        values = [
            Summary.Value(tag=name, simple_value=value)
            for name, value in metrics.items()
            if math.isfinite(value)
        ]
        self._write(frames, summary=Summary(value=values))
        self._flush()

    def write_video(self, mp4: Path, gif: Path, frames: int) -> None:
        """Add the GIF, which TensorBoard shows as an image.

        Raises:
            OSError: If it cannot be written to the disk now.
        """
        from tensorboardX.proto.summary_pb2 import Summary

        from jaxfactory.metrics.gif import size_of

        data = gif.read_bytes()
        width, height = size_of(data)
        image = Summary.Image(
            width=width, height=height, colorspace=3, encoded_image_string=data
        )
        summary = Summary(value=[Summary.Value(tag="video", image=image)])
        self._write(frames, summary=summary)
        self._flush()

    def _flush(self) -> None:
        assert self._file is not None
        self._file.flush()
        self._file.check()

    def close(self) -> None:
        """Flush and close the event file."""
        if self._file is not None:
            self._file.close()
            self._file.check()
