"""Writing checkpoints on another thread, one at a time."""

import warnings
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from jaxfactory.checkpoints.checkpoint_files import named_arrays, why, write_arrays
from jaxfactory.config import runs


@runtime_checkable
class Counted(Protocol):
    """A training state; its frames name its checkpoint."""

    @property
    def frames(self) -> int:
        """Frames it was trained for."""


class BackgroundWriter:
    """Writes copies of states while training continues.

    Args:
        run_dir: The run's directory.
    """

    def __init__(self, run_dir: Path) -> None:
        self._run_dir = run_dir
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        # Started at once: later, the system may allow no more of them.
        self._thread.submit(lambda: None)
        self._writing: Future[None] | None = None
        self._undo: Callable[[], None] = lambda: None

    def commit(
        self,
        state: Any,
        host: dict[str, Any],
        kind: str,
        *,
        kept: int | None,
        undo: Callable[[], None] = lambda: None,
    ) -> "Future[None]":
        """Write a checkpoint, after the one before is written.

        Args:
            state: A pytree of arrays, typed random keys and Python numbers.
            host: Host-side state; ``host["frames"]`` names the checkpoint.
            kind: ``"latest"``, for example: the name of its folder.
            kept: How many of its kind are kept, including this one; None for all.
            undo: Called by `finish` if it cannot be written.
        """
        self.finish()
        # Copies: the next update may write to the state's own memory.
        arrays = {name: np.array(leaf) for name, leaf in named_arrays(state).items()}
        self._undo = undo
        self._writing = self._thread.submit(self._write, arrays, host, kind, kept)
        return self._writing

    def finish_if_done(self) -> None:
        """Do what `finish` does, unless a write is still in progress."""
        if self._writing is not None and self._writing.done():
            self.finish()

    def finish(self, *, warn: bool = True) -> BaseException | None:
        """Wait for the write in progress; return its error, and warn of it."""
        writing, self._writing = self._writing, None
        error = writing.exception() if writing is not None else None
        if error is not None:  # Orbax raises many kinds.
            self._undo()
            if not isinstance(error, Exception):
                raise error
            if warn:
                folder = self._run_dir / runs.CHECKPOINTS
                warnings.warn(
                    f"a checkpoint cannot be written to {folder} ({why(error)}); "
                    "training goes on, and it is tried again: free disk space",
                    stacklevel=2,
                )
        return error

    def close(self) -> None:
        """Wait for the write in progress and end the thread."""
        try:
            self.finish()
        finally:
            self._thread.shutdown()

    def _write(
        self,
        arrays: dict[str, np.ndarray],
        host: dict[str, Any],
        kind: str,
        kept: int | None,
    ) -> None:
        write_arrays(self._run_dir, kind, arrays, host, kept=kept)
