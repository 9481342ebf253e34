"""Reads a run's metrics.jsonl.

A killed process may have left an incomplete line, and the file may come from an
untrusted source. Lines that are not rows of numbers, and numbers too large to plot, are
skipped. Several iterations of a long run are read as one: a week has a million.
"""

import math
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from jaxfactory._util import plain_files, plain_json
from jaxfactory._util.errors import UserError


_LINE_BYTES = plain_json.MIB
_FILE_BYTES = 65_536 * plain_json.MIB
# About as much of it is read.
_BYTES_READ = 64 * plain_json.MIB
# In every row of an iteration, and in no other.
_WALL_CLOCK = "time/wall_clock"
# Of an hour of training there are some thousand.
_MOST_ROWS = 1_000_000
_MOST_METRICS = 1_000
_LONGEST_NAME = 200
# Larger values overflow the scale of a plot or the sum of squares of a variance.
_LARGEST = 1e30
# Missing metrics are filled with NaN; this bounds the memory per byte of the file.
_CELLS_AT_LEAST, _CELLS_PER_BYTE = 2_000_000, 1


def read(file: Path) -> list[dict[str, float]]:
    """Return the rows of a metrics.jsonl, sorted by frames; empty without a file.

    Every row has ``"frames"``; a metric that was null is NaN. Of a large file, a row of
    an iteration may stand for several: it is the last one of them, with the seconds of
    all.

    Raises:
        UserError: If the file cannot be read, is too large, or has too many metrics.
    """
    rows = []
    names: set[str] = set()
    size = 0
    try:
        with plain_files.open_regular(file) as opened:
            size = os.fstat(opened.fileno()).st_size
            for row in _merged(map(parse, lines(opened)), size // _BYTES_READ + 1):
                rows.append(row)
                names |= row.keys()
                if len(names) > _MOST_METRICS:
                    raise ValueError(f"it has more than {_MOST_METRICS:,} metrics")
                if len(rows) > _MOST_ROWS:
                    raise ValueError(f"it has more than {_MOST_ROWS:,} rows")
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise UserError(
            f"{file} cannot be read: {plain_json.reason(error)}; move it away"
        ) from error
    if len(rows) * len(names) > _CELLS_AT_LEAST + _CELLS_PER_BYTE * size:
        raise UserError(
            f"{file} cannot be read: its lines have too few of its {len(names)} "
            "metrics each; move it away"
        )
    return sorted(rows, key=lambda row: row["frames"])


def lines(file: BinaryIO) -> Iterator[bytes]:
    """Yield the lines of a metrics.jsonl.

    Raises:
        ValueError: If a line, or the file, is too large.
    """
    size = 0
    while line := file.readline(_LINE_BYTES + 1):
        size += len(line)
        if len(line) > _LINE_BYTES or size > _FILE_BYTES:
            raise ValueError("it is too large")
        yield line


def _merged(
    rows: Iterable[dict[str, float] | None], each: int
) -> Iterator[dict[str, float]]:
    """Yield rows, of `each` iterations in a row only the last, with all their seconds.

    Rows of anything else, such as evaluations, are yielded as they are.
    """
    seconds: dict[str, float] = {}
    last: dict[str, float] = {}
    count = 0
    for row in rows:
        if row is None:
            continue
        if _WALL_CLOCK not in row or each == 1:
            yield row
            continue
        for name, value in row.items():
            if name.startswith("time/") and name != _WALL_CLOCK:
                seconds[name] = seconds.get(name, 0.0) + value
        last, count = row, count + 1
        if count == each:
            yield {**last, **seconds}
            seconds, last, count = {}, {}, 0
    if last:
        yield {**last, **seconds}


def parse(line: bytes | str) -> dict[str, float] | None:
    """Return the row in a line; None if the line is incomplete or holds no row."""
    try:
        values = plain_json.loads(line, allow_nan=True)
    except ValueError:
        return None
    if not isinstance(values, dict):
        return None
    row = {
        name: math.nan if value is None else float(value)
        for name, value in values.items()
        if _is_name(name) and (value is None or _is_number(value))
    }
    return row if 0 <= row.get("frames", math.nan) <= plain_json.MOST_FRAMES else None


def _is_name(name: str) -> bool:
    return len(name) <= _LONGEST_NAME and plain_files.is_plain(name)


def _is_number(value: Any) -> bool:
    return plain_json.is_number(value, _LARGEST) or (
        type(value) is float and not math.isfinite(value)
    )
