"""Safe reading of untrusted JSON.

Python's own parser accepts any size and depth, numbers of any length, NaN, and
duplicate keys. The result can then fail much later: a deep list when it is printed, a
long number when it becomes a float. This module rejects such files at once.
"""

import json
from pathlib import Path
from typing import Any, NoReturn

from jaxfactory._util import plain_files
from jaxfactory._util.errors import UserError


MIB = 2**20
# Bytes of a file; an evaluation of 100,000 episodes takes half of that.
LIMIT = 16 * MIB
_DEPTH = 32
# Up to here, floats represent integers exactly.
MOST_FRAMES = 2**53
# Brackets, commas and colons; each item takes about 50 bytes of memory.
_ITEMS = 3_000_000
# Digits of an integer; 2^64 has 20.
_DIGITS = 20


def loads(data: bytes | str, *, allow_nan: bool = False) -> Any:
    """Parse a JSON text.

    Args:
        data: The text, in UTF-8 if it is bytes.
        allow_nan: Accept NaN and Infinity, which Python writes but JSON does not have.

    Raises:
        ValueError: If it is not JSON, is nested too deeply, or has a duplicate key, a
            number of more than 20 digits or too many items; the text says which.
    """
    if isinstance(data, bytes):
        try:
            data = data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise ValueError(f"it is not UTF-8 text (byte {error.start})") from None
    if sum(map(data.count, ",:[{")) > _ITEMS:
        raise ValueError(f"it holds more than {_ITEMS:,} items")
    constant = float if allow_nan else _no_constant
    try:
        value = json.loads(
            data,
            object_pairs_hook=_unique,
            parse_int=_whole,
            parse_constant=constant,
        )
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    _check_depth(value)
    return value


def read(path: Path, *, limit: int = LIMIT, allow_nan: bool = False) -> Any:
    """Parse a JSON file.

    Args:
        path: The file.
        limit: Its maximum size in bytes.
        allow_nan: As in `loads`.

    Raises:
        OSError: If it cannot be read.
        ValueError: If it is not a regular file, is too large, or `loads` rejects it.
    """
    return loads(plain_files.read_bytes(path, limit), allow_nan=allow_nan)


def read_object(path: Path, remedy: str = "", *, limit: int = LIMIT) -> dict[str, Any]:
    """Parse a file that contains a JSON object.

    Args:
        path: The file.
        remedy: How to fix a damaged file, without a full stop.
        limit: Its maximum size in bytes.

    Raises:
        UserError: If it cannot be read or is not a JSON object.
    """
    try:
        value = read(path, limit=limit)
        if not isinstance(value, dict):
            raise ValueError("it is not a JSON object")
    except (OSError, ValueError) as error:
        after = f"; {remedy}" if remedy else ""
        raise UserError(f"{path} cannot be read: {reason(error)}{after}") from error
    return value


def is_count(value: Any) -> bool:
    """Whether a value is an integer between 0 and 2^53."""
    return type(value) is int and 0 <= value <= MOST_FRAMES


def is_number(value: Any, largest: float) -> bool:
    """Whether a value is a number of at most this magnitude."""
    return type(value) in (int, float) and abs(value) <= largest


def reason(error: Exception) -> str:
    """Return why a file cannot be read, without the file's name."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        seen: set[str] = set()
        name = next(key for key, _ in pairs if key in seen or seen.add(key))
        raise ValueError(f"{name!r:.60} is there twice")
    return values


def _whole(text: str) -> int:
    if len(text) > _DIGITS + 1:
        raise ValueError(f"it holds a number of {len(text)} digits")
    return int(text)


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"it holds {text}, which is not a number in JSON")


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(_DEPTH):
        below = []
        for item in level:
            if isinstance(item, dict):
                below += [v for v in item.values() if isinstance(v, dict | list)]
            elif isinstance(item, list):
                below += [v for v in item if isinstance(v, dict | list)]
        if not below:
            return
        level = below
    raise ValueError("it is nested too deeply")
