"""A run's directory while training: its lock, and what to do once it is removed."""

import os
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import IO

from jaxfactory._util.errors import UserError
from jaxfactory.checkpoints import run_lock
from jaxfactory.checkpoints.checkpoint_files import DISCARDED, SCRATCH
from jaxfactory.config import runs


# Checkpoints for background evaluation, beside "latest" and "best".
TEMPORARY = "temporary"


class RunFolder:
    """Holds the lock of a run's directory.

    Args:
        run_dir: The run's directory.
        write: Writes the settings into it.
    """

    def __init__(self, run_dir: Path, write: Callable[[], None]) -> None:
        self._run_dir = run_dir
        self._write = write
        self._lock: IO[str] | None = None
        self._warned = False
        self.checkpoints = run_dir / runs.CHECKPOINTS

    def open(self, begin: Callable[[], object]) -> None:
        """Take the lock of an existing directory, and begin the run.

        Args:
            begin: Checks whether the directory fits, and writes the settings. Not
                before the lock is held: another process may be training.

        Raises:
            UserError: If the directory cannot be used for this run.
        """
        self._lock = run_lock.take(self._run_dir / runs.LOCK)
        try:
            begin()
            self.checkpoints.mkdir(exist_ok=True)
        except BaseException:
            self._lock.close()
            raise
        # Left behind by a process that was killed while saving.
        for name in (SCRATCH, DISCARDED, TEMPORARY):
            shutil.rmtree(self.checkpoints / name, ignore_errors=True)

    def close(self) -> None:
        """Remove temporary checkpoints and release the lock."""
        shutil.rmtree(self.checkpoints / TEMPORARY, ignore_errors=True)
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def is_there(self) -> bool:
        """Whether the lock's file, and with it the directory, is the one opened.

        A directory that cannot be looked at now, as on a network, may be there again
        soon.
        """
        assert self._lock is not None
        try:
            found = os.stat(self._run_dir / runs.LOCK)
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError:
            return True
        return os.path.samestat(found, os.fstat(self._lock.fileno()))

    def make_again(self) -> bool:
        """Create the directory again, and warn; return whether that worked."""
        removed = f"the run directory {self._run_dir} was removed during training"
        try:
            before = runs.checkpoint_dirs(self._run_dir, "latest")
            self._run_dir.mkdir(parents=True, exist_ok=True)
            lock = run_lock.take(self._run_dir / runs.LOCK)
            try:
                self._write()
                self.checkpoints.mkdir(exist_ok=True)
            except BaseException:
                lock.close()
                raise
        except (OSError, UserError) as error:
            if not self._warned:
                self._warned = True
                warnings.warn(
                    f"{removed} and cannot be made again ({error}); training goes on, "
                    "and it is tried again",
                    stacklevel=2,
                )
            return False
        if self._lock is not None:
            self._lock.close()
        self._lock, self._warned = lock, False
        found = (
            "the one that is there now is used"
            if before
            else "it is made again with a checkpoint of the current state, earlier "
            "checkpoints and metrics are lost"
        )
        warnings.warn(f"{removed}; {found}", stacklevel=2)
        return True
