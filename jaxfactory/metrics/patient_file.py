"""A file that keeps what a full disk does not take, and writes it later."""

import os
from pathlib import Path


# Bytes that wait for space on the disk; what comes later is lost.
_MOST_WAITING = 16 * 2**20
_BLOCK = 2**13


class PatientFile:
    """A binary file to append to. Writing to it never raises; `check` does.

    If the file is removed, a new one takes its place.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("ab", buffering=0)
        self._waiting = bytearray()
        self._error: OSError | None = None

    def write(self, data: bytes) -> None:
        """Append bytes; they reach the disk with a later one, or by `flush`."""
        if len(self._waiting) < _MOST_WAITING:
            self._waiting += data
        if len(self._waiting) >= _BLOCK:
            self.flush()

    def flush(self) -> None:
        """Write whatever waits, as far as the disk takes it."""
        try:
            if self._waiting and os.fstat(self._file.fileno()).st_nlink == 0:
                self._open_again()
            while self._waiting:
                # On a disk that becomes full, a part is written.
                del self._waiting[: self._file.write(self._waiting)]
        except OSError as error:
            self._error = error
        else:
            self._error = None

    def _open_again(self) -> None:
        self._path.parent.mkdir(exist_ok=True)
        # One that exists by now is another program's.
        file = self._path.open("xb", buffering=0)
        self._file.close()
        self._file = file

    def check(self) -> None:
        """Raise the error of the last attempt, if it failed.

        Raises:
            OSError: That error.
        """
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """Try to write what waits, and close the file."""
        self.flush()
        try:
            self._file.close()
        except OSError as error:
            self._error = error
