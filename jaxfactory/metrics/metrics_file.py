"""Reading a run's metrics.jsonl, of which a killed process may have left half a line.

The file may also be a stranger's. A line that is not a row of numbers is left out, and
so is a number that nothing can be drawn with.
"""

import math
from pathlib import Path
from typing import Any

from jaxfactory._util import plain_files, plain_json
from jaxfactory._util.errors import UserError


_LINE_BYTES = plain_json.MIB
_FILE_BYTES = 1024 * plain_json.MIB
_MOST_METRICS = 1_000
_LONGEST_NAME = 200
# Beyond this a picture's scale, or the sum of squares of a mean, is no number.
_LARGEST = 1e30
# Lines are filled up to the metrics of all of them: so much for each byte of the file.
_CELLS_AT_LEAST, _CELLS_PER_BYTE = 2_000_000, 1


def read(file: Path) -> list[dict[str, float]]:
    """Return the rows of a metrics.jsonl by frames; none if there is no such file.

    Each has ``"frames"``; a metric without a number is NaN.

    Raises:
        UserError: If the file cannot be read, is too large, or holds too many metrics.
    """
    rows = []
    names: set[str] = set()
    size = 0
    try:
        with plain_files.open_regular(file) as lines:
            while line := lines.readline(_LINE_BYTES + 1):
                size += len(line)
                if len(line) > _LINE_BYTES or size > _FILE_BYTES:
                    raise ValueError("it is too large")
                row = parse(line)
                if row is None:
                    continue
                rows.append(row)
                names |= row.keys()
                if len(names) > _MOST_METRICS:
                    raise ValueError(f"it has more than {_MOST_METRICS:,} metrics")
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


def parse(line: bytes | str) -> dict[str, float] | None:
    """Return the row that a line holds; None if it holds none, or only half of one."""
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
