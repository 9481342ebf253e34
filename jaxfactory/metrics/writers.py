"""The interface of metrics writers, and a writer that combines several."""

import errno
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol, runtime_checkable


Metrics = Mapping[str, float]


@runtime_checkable
class Writer(Protocol):
    """Receives the metrics of every iteration."""

    def begin(self, frames: int) -> None:
        """Start a session at ``frames``; called once, before everything else."""

    def write(self, metrics: Metrics, frames: int) -> None:
        """Receive the metrics at ``frames``."""

    def close(self) -> None:
        """Flush and close; nothing is written afterwards."""


@runtime_checkable
class Notes(Protocol):
    """A writer that also shows messages."""

    def note(self, text: str) -> None:
        """Show a one-line message."""


@runtime_checkable
class Videos(Protocol):
    """A writer that also logs videos."""

    def write_video(self, mp4: Path, gif: Path, frames: int) -> None:
        """Log a video of the policy at ``frames``, given in both formats."""


class CompositeWriter:
    """Forwards everything to several writers; a context manager that closes them.

    Once they have begun, a full disk or another error in one of them is a warning, and
    every later call tries again: metrics must not end a training run.
    """

    def __init__(self, *writers: Writer) -> None:
        self._writers = writers
        self._failing: set[Writer] = set()
        self._left: set[Writer] = set()

    @property
    def left(self) -> bool:
        """Whether nobody reads the output any more, as in ``train | head``."""
        return bool(self._left)

    def begin(self, frames: int) -> None:
        """Begin every writer."""
        for writer in self._writers:
            writer.begin(frames)

    def write(self, metrics: Metrics, frames: int) -> None:
        """Write to every writer."""
        for writer in self._writers:
            self._try(writer, lambda writer=writer: writer.write(metrics, frames))

    def note(self, text: str) -> None:
        """Pass a message to the writers that show messages."""
        for writer in self._writers:
            if isinstance(writer, Notes):
                self._try(writer, lambda writer=writer: writer.note(text))

    def write_video(self, mp4: Path, gif: Path, frames: int) -> None:
        """Pass a video to the writers that log videos."""
        for writer in self._writers:
            if isinstance(writer, Videos):
                self._try(
                    writer, lambda writer=writer: writer.write_video(mp4, gif, frames)
                )

    def close(self) -> None:
        """Close every writer, in reverse order."""
        for writer in reversed(self._writers):
            self._try(writer, writer.close)

    def _try(self, writer: Writer, action: Callable[[], None]) -> None:
        """Call a writer; warn of the first failure, until it works again."""
        if writer in self._left:
            return
        try:
            action()
        except Exception as error:  # W&B and a user's own writer may raise any.
            if isinstance(error, BrokenPipeError) and isinstance(writer, Notes):
                self._left.add(writer)  # It is the terminal's.
            elif writer not in self._failing:
                self._failing.add(writer)
                why, remedy = f"{type(error).__name__}: {error}", ""
                if isinstance(error, OSError):
                    why = str(error.strerror or error)
                    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
                    remedy = ": free disk space" if full else ""
                warnings.warn(
                    f"{type(writer).__name__} cannot write ({why}); "
                    f"training goes on, and it tries again{remedy}",
                    stacklevel=2,
                )
        else:
            self._failing.discard(writer)

    def __enter__(self) -> "CompositeWriter":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
