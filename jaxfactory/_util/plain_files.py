"""Reading files that strangers made: their bytes within a limit, and their text.

A name in a directory that was handed over may be a FIFO, a device or a directory, or
a link to one. Opening or reading such a thing can wait for ever or never end, so that
only regular files are opened, and no more is read than there is reason to expect.
"""

import os
import stat
import unicodedata
from pathlib import Path
from typing import BinaryIO


# Characters that change how the text around them is shown: the order of writing.
_DIRECTIONS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e"
                        "\u2066\u2067\u2068\u2069")  # fmt: skip
_UNPRINTABLE = {"Cc", "Cs", "Zl", "Zp"}


def open_regular(path: Path) -> BinaryIO:
    """Open a file for reading, without ever waiting for it.

    Raises:
        OSError: If it cannot be opened.
        ValueError: If it is not a regular file, nor a link to one.
    """
    # Looked at before it is opened too: opening some devices has effects.
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
        # Room for all that is asked for is made at once, so not for the limit.
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


def is_plain(text: str) -> bool:
    """Whether a text holds no control characters and nothing that hides others."""
    return text.isprintable() or not any(map(_is_odd, text))


def printable(text: str) -> str:
    r"""Return a text for the terminal: what would control that is written out.

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
