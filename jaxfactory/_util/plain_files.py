"""Reading and replacing untrusted files safely, and printing their text safely.

A name in an untrusted directory may belong to a FIFO or a device, or to a link to one.
Opening or reading it could block forever, so only regular files are opened, and reads
are limited in size.
"""

import contextlib
import os
import stat
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO


# Characters that change the direction of the text around them.
_DIRECTIONS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e"
                        "\u2066\u2067\u2068\u2069")  # fmt: skip
_UNPRINTABLE = {"Cc", "Cs", "Zl", "Zp"}


def open_regular(path: Path) -> BinaryIO:
    """Open a file for reading without ever blocking.

    Raises:
        OSError: If it cannot be opened.
        ValueError: If it is neither a regular file nor a link to one.
    """
    # Check before opening, too, because opening some devices has side effects.
    _check_regular(os.stat(path))
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        _check_regular(os.fstat(handle))
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def read_bytes(path: Path, limit: int) -> bytes:
    """Return a file's content.

    Args:
        path: The file.
        limit: The most bytes that it may have.

    Raises:
        OSError: If it cannot be read.
        ValueError: If it is not a regular file, or too large.
    """
    with open_regular(path) as file:
        # read() allocates what it is asked for, so do not ask for the whole limit.
        size = os.fstat(file.fileno()).st_size
        data = file.read(min(size, limit) + 1)
    if len(data) > limit:
        raise ValueError(f"it is larger than {limit // 2**20} MiB")
    return data


def _check_regular(status: os.stat_result) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise ValueError("it is a directory")
    if not stat.S_ISREG(status.st_mode):
        raise ValueError("it is not a regular file")


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Yield a file that replaces another one if the block ends without an error."""
    scratch = path.with_name(f".{path.name}.unfinished")
    try:
        # Writing to the file itself would follow a link.
        scratch.unlink(missing_ok=True)
        with scratch.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            scratch.unlink(missing_ok=True)
        raise


def is_plain(text: str) -> bool:
    """Whether a text is free of control and direction characters."""
    return text.isprintable() or not any(map(_is_odd, text))


def printable(text: str) -> str:
    r"""Return a text with escapes in place of characters that control the terminal.

    >>> printable("a\x1b[2Jb")
    'a\\x1b[2Jb'
    """
    if text.isprintable():
        return text
    return "".join(
        char.encode("unicode_escape").decode() if _is_odd(char) else char
        for char in text
    )


def _is_odd(char: str) -> bool:
    return char in _DIRECTIONS or unicodedata.category(char) in _UNPRINTABLE
