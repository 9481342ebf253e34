"""The lock of a run directory: one process trains in it at a time."""

import fcntl
import os
import warnings
from pathlib import Path
from typing import IO

from jaxfactory._util.errors import UserError


def take(path: Path) -> IO[str]:
    """Lock a run until the returned file is closed, or this process ends in any way.

    On a file system without locks, as Lustre often is, this is a warning only.

    Args:
        path: The lock's file, in the run's directory.

    Raises:
        UserError: If another process holds it, or the file cannot be created.
    """
    # Nothing is written or truncated: a symlink in an untrusted run directory cannot
    # harm its target, and opening a FIFO does not block.
    flags = os.O_RDWR | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        lock = os.fdopen(os.open(path, flags, 0o644), "w")
    except OSError as error:
        raise UserError(
            f"the run directory {path.parent} cannot be written ({error.strerror}); "
            "give --run another one"
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        lock.close()
        raise UserError(
            f"another process is training in {path.parent}; "
            "wait for it or give --run another directory"
        ) from error
    except OSError as error:
        warnings.warn(
            f"{path} cannot be locked ({error.strerror}): the file system has no "
            "locks, so make sure that no other process trains in this directory",
            stacklevel=2,
        )
    return lock
