"""A checkpoint's host-side state, everything but its arrays, checked field by field.

A run's host.json and a published checkpoint.json share this format. Both may come from
untrusted sources.
"""

import math
import re
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxfactory._util import plain_files, plain_json
from jaxfactory.metrics.episodes import EpisodeStats


# Allowed array types: those of safetensors files that NumPy can read.
DTYPES = frozenset((
    "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
    "float16", "float32", "float64",
))  # fmt: skip
_LEAF = re.compile(r"([a-z0-9]{1,16})\[((?:[0-9]{1,15}(?:,[0-9]{1,15}){0,15})?)\]")
_MOST_LEAVES = 10_000
_MOST_ROWS = 10_000
_LONGEST_NAME = 512
# Of all arrays in total; three times the parameters of the largest network here.
_MOST_BYTES = 8 * 2**30

Leaf = tuple[list[int], str]


def read(path: Path) -> dict[str, Any]:
    """Return a checkpoint's host-side state.

    Args:
        path: The checkpoint's directory.

    Raises:
        OSError: If its host.json cannot be read.
        ValueError: If that file is damaged; see `checked`.
    """
    # An episode's return may be NaN, which Python writes as NaN.
    return checked(plain_json.read(path / "host.json", allow_nan=True))


def checked(host: Any) -> dict[str, Any]:
    """Return a checkpoint's host-side state after validating it.

    Raises:
        ValueError: If it is invalid; the text names the field and the reason.
    """
    if not isinstance(host, dict):
        raise ValueError("it is not a JSON object")
    missing = {"frames", "seconds", "best", "episodes", "leaves"} - host.keys()
    if missing:
        raise ValueError(f"it lacks {', '.join(sorted(missing))}")
    checks = {
        "frames": plain_json.is_count,
        "seconds": lambda value: _is_number(value) and value >= 0,
        "best": lambda value: value is None or _is_number(value),
        "best_by": lambda value: value in ("training", "evaluation"),
        "episodes": _is_window,
        "checksum": plain_json.is_count,
    }
    for name, holds in checks.items():
        if name in host and not holds(host[name]):
            raise ValueError(f"its {name} is {host[name]!r:.60}")
    leaves(host["leaves"])
    return host


def leaves(texts: Any) -> dict[str, Leaf]:
    """Parse descriptions of arrays, such as ``"float32[3,4]"``, to (shape, dtype).

    Raises:
        ValueError: If a description is invalid, or the arrays are too many or too
            large.
    """
    if not isinstance(texts, dict) or len(texts) > _MOST_LEAVES:
        raise ValueError("its leaves do not describe a network's arrays")
    found: dict[str, Leaf] = {}
    total = 0
    for name, text in texts.items():
        if len(name) > _LONGEST_NAME or not plain_files.is_plain(name):
            raise ValueError(f"its leaves have an invalid name ({name!r:.60})")
        match = _LEAF.fullmatch(text) if isinstance(text, str) else None
        if match is None or match[1] not in DTYPES:
            raise ValueError(f"its leaf {name} is {text!r:.60}")
        shape = [int(size) for size in match[2].split(",") if size]
        found[name] = (shape, match[1])
        total += size_of(found[name])
    if total > _MOST_BYTES:
        raise ValueError(f"its leaves are {total / 2**30:,.1f} GiB in total")
    return found


def size_of(leaf: Leaf) -> int:
    """Return the size of an array in bytes."""
    shape, dtype = leaf
    return math.prod(shape) * np.dtype(dtype).itemsize


def checksum(arrays: Mapping[str, np.ndarray]) -> int:
    """Return a CRC-32 of arrays and their names, in any order of the names."""
    found = 0
    for name in sorted(arrays):
        found = zlib.crc32(name.encode(), found)
        found = zlib.crc32(np.ascontiguousarray(arrays[name]).reshape(-1).data, found)
    return found


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _is_window(value: Any) -> bool:
    """Whether a value has the form that `EpisodeStats.state` returns."""
    if not isinstance(value, dict) or not plain_json.is_count(value.get("total")):
        return False
    alone = len(EpisodeStats.FIELDS)
    lengths = (alone, alone + len(EpisodeStats.MATCH_FIELDS))
    rows = value.get("rows")
    return (
        isinstance(rows, list)
        and len(rows) <= _MOST_ROWS
        and all(isinstance(row, list) and len(row) in lengths for row in rows)
        # A reward may be NaN or infinite, and then so is the return.
        and all(type(number) in (int, float) for row in rows for number in row)
    )
