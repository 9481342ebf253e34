"""The space of a search: ranges and choices of options."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jaxfactory._util.errors import UserError
from jaxfactory.sweep.sweep_table import Value, first_names, options_of


_RANGE = ("low", "high", "log", "step")


class Range(NamedTuple):
    """Numbers between two bounds, inclusive.

    Attributes:
        low: Smallest value.
        high: Largest value.
        log: Whether it is searched on a logarithmic scale.
        step: Distance of the values; None for any.
        whole: Whether they are whole numbers.
    """

    low: float
    high: float
    log: bool
    step: float | None
    whole: bool

    def values(self) -> list[int | float]:
        """Return every value of a range with steps."""
        step = self.step or 1
        count = math.floor((self.high - self.low) / step + 1e-9) + 1
        found = [self.low + index * step for index in range(count)]
        return [int(value) if self.whole else value for value in found]

    def describe(self) -> str:
        """Return the range in words."""
        text = f"{self.low:g} to {self.high:g}"
        if self.log:
            text += ", logarithmic"
        return text if self.step is None else f"{text} in steps of {self.step:g}"


Dimension = Range | tuple[Value, ...]


def read_space(path: Path, command: Mapping[str, Value], table: Any) -> dict:
    """Return the dimensions of a search by their options.

    Raises:
        UserError: If one is invalid.
    """
    if not isinstance(table, dict) or not table:
        raise UserError(f"{path}: a search needs options to vary in [sweep.space]")
    lists = {name: value for name, value in table.items() if isinstance(value, list)}
    space: dict[str, Dimension] = {}
    for name in table:
        key = name.replace("-", "_")
        value = table[name]
        # Names are checked as those of other options are.
        options_of(path, "space", {name: lists.get(name, 0)})
        if isinstance(value, dict):
            space[key] = _range(path, name, value)
        elif isinstance(value, list) and value:
            space[key] = tuple(value)
        else:
            raise UserError(
                f"{path}: space: {name} = {value!r} must be a list of choices, or a "
                "range { low = .., high = .. }"
            )
    if both := first_names(command) & first_names(space):
        raise UserError(
            f"{path}: {min(both)} is in both command and space; remove one of them"
        )
    if "total_frames" in space:
        raise UserError(
            f"{path}: space: total_frames cannot vary, because trials are compared at "
            "the same frames; put it into command"
        )
    return space


def _range(path: Path, name: str, table: Mapping[str, Any]) -> Range:
    what = f"{path}: space: {name} = {dict(table)}"
    for key in table:
        if key not in _RANGE:
            raise UserError(f"{what} has no {key!r}; its keys are {', '.join(_RANGE)}")
    log, step = table.get("log", False), table.get("step")
    numbers = [table.get("low"), table.get("high"), *([] if step is None else [step])]
    if not all(type(x) in (int, float) and math.isfinite(x) for x in numbers):
        raise UserError(f"{what} must have numbers as low and high")
    low, high = numbers[:2]
    if not low < high:
        raise UserError(f"{what} must have a low that is less than high")
    if not isinstance(log, bool) or (log and (low <= 0 or step is not None)):
        raise UserError(f"{what}: log = true needs a low over 0, and no step")
    if step is not None and not 0 < step <= high - low:
        raise UserError(f"{what} must have a step over 0, at most high - low")
    whole = all(type(x) is int for x in numbers)
    return Range(low, high, log, step, whole)


def points(path: Path, space: Mapping[str, Dimension]) -> int:
    """Return the number of points of a grid."""
    count = 1
    for name, dimension in space.items():
        if not isinstance(dimension, Range):
            count *= len(dimension)
        elif dimension.log or (dimension.step is None and not dimension.whole):
            raise UserError(
                f'{path}: space: {name} has no steps, which search = "grid" needs; '
                "give a list, or step"
            )
        else:
            count *= len(dimension.values())
    return count


def bounds(dimension: Dimension) -> Sequence[Value]:
    """Return both ends of a range, or all choices."""
    if not isinstance(dimension, Range):
        return dimension
    low, high = dimension.low, dimension.high
    return [int(low), int(high)] if dimension.whole else [low, high]
