"""What must be there before Orbax writes: space on the disk, and threads."""

import errno
import os
import shutil
import threading
from collections.abc import Mapping
from pathlib import Path

import numpy as np


# Bytes of an array's files beside its contents.
_PER_ARRAY = 2**13
# More than Orbax was seen to start on 2 cores.
_THREADS = 32


def check(folder: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Check that arrays can be written.

    On a full disk Orbax's threads print a traceback for each array. Where its threads
    cannot be started, its library in C++ ends the whole process.

    Args:
        folder: Where they are written to.
        arrays: The arrays.

    Raises:
        OSError: If the disk has too little space, or the system allows too few threads.
    """
    needed = sum(array.nbytes + _PER_ARRAY for array in arrays.values())
    if shutil.disk_usage(folder).free < needed:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))
    end, threads = threading.Event(), []
    try:
        for _ in range(_THREADS):
            thread = threading.Thread(target=end.wait, daemon=True)
            thread.start()
            threads.append(thread)
    except RuntimeError as error:
        raise OSError(errno.EAGAIN, "the system allows no more threads") from error
    finally:
        end.set()
        for thread in threads:
            thread.join()
