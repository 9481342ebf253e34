"""A file that keeps what a full disk does not take, and writes it later."""

from pathlib import Path


# Bytes that wait for space on the disk; what comes later is lost.
_MOST_WAITING = 16 * 2**20
_BLOCK = 2**13


class PatientFile:
    """A binary file to append to. Writing to it never raises; `check` does."""

    def __init__(self, path: Path) -> None:
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
            while self._waiting:
                # On a disk that becomes full, a part is written.
                del self._waiting[: self._file.write(self._waiting)]
        except OSError as error:
            self._error = error
        else:
            self._error = None

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
