"""Strict construction of dataclasses from untrusted JSON values.

A dataclass accepts any value: ``num_envs`` of 64.0 or "64" would fail later or be
treated as 64. Here, each value must have its field's type. cattrs converts "64" to 64
and "false" to True; pydantic ignores unknown fields and adds 0.1 s to the start.
"""

import dataclasses
import math
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

from jaxfactory._util import plain_files
from jaxfactory._util.errors import UserError, did_you_mean


T = TypeVar("T")

_LONGEST_TEXT = 4096
_MOST_ENTRIES = 1024
# The largest float32.
_LARGEST = 3e38


class _Unfit(Exception):  # noqa: N818 - the value is wrong
    """A value does not have its field's type; the message names the type."""


def build(kind: type[T], values: Any, place: str = "") -> T:
    """Return a dataclass with values from JSON; missing fields take their defaults.

    Args:
        kind: The dataclass. Its fields may be bool, int, float, str, Path, Literal,
            tuples of these, dataclasses, or any of these or None.
        values: Maps field names to values.
        place: Prefix of field names in error messages: ``"env."``.

    Raises:
        UserError: If a field does not exist, a value is of another type or invalid, or
            a field without a default is missing.
    """
    if not isinstance(values, Mapping):
        name = place.rstrip(".") or "the configuration"
        raise UserError(
            f"{name} is {_shown(values)} and must be an object with settings"
        )
    hints = typing.get_type_hints(kind)
    fields = {field.name: field for field in dataclasses.fields(kind) if field.init}
    found = {}
    for name, value in values.items():
        if name not in fields:
            hint = did_you_mean(name[:60], fields) if isinstance(name, str) else ""
            raise UserError(
                f"there is no setting {place}{name!r:.60} in this version{hint}"
            )
        hint = hints[name]
        if dataclasses.is_dataclass(hint):
            found[name] = build(hint, value, f"{place}{name}.")
            continue
        try:
            found[name] = _fit(hint, value)
        except _Unfit as wanted:
            raise UserError(
                f"{place}{name} is {_shown(value)} and must be {wanted}"
            ) from None
    for name, field in fields.items():
        required = field.default is field.default_factory is dataclasses.MISSING
        if required and name not in found:
            raise UserError(f"the setting {place}{name} is missing")
    return kind(**found)


def _shown(value: Any) -> str:
    try:
        text = f"{value!r}"
    except (ValueError, RecursionError):  # Too many digits, or nested too deeply.
        return f"a {type(value).__name__}"
    return text if len(text) <= 60 else f"{text[:60]}..."


def _fit(hint: Any, value: Any) -> Any:  # noqa: C901 - one branch for each type
    """Return a value, converted to its field's type if that loses nothing."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return _fit_any(arguments, value)
    if origin is Literal:
        if not any(type(value) is type(one) and value == one for one in arguments):
            raise _Unfit("one of " + ", ".join(map(repr, arguments)))
        return value
    if origin is tuple:
        return _fit_tuple(arguments, value)
    if hint is types.NoneType:
        if value is not None:
            raise _Unfit("null")
        return value
    if hint is bool:
        if type(value) is not bool:
            raise _Unfit("true or false")
        return value
    if hint is int:
        if type(value) is not int:
            raise _Unfit("a whole number")
        return value
    if hint is float:
        if type(value) not in (int, float) or not abs(value) < math.inf:
            raise _Unfit("a finite number")
        if abs(value) > _LARGEST:
            raise _Unfit(f"a number of at most {_LARGEST:g}")
        return float(value)
    if hint in (str, Path):
        if type(value) is not str and not (hint is Path and isinstance(value, Path)):
            raise _Unfit("a text")
        if len(str(value)) > _LONGEST_TEXT:
            raise _Unfit(f"a text of at most {_LONGEST_TEXT} characters")
        if not plain_files.is_plain(str(value)):
            raise _Unfit("a text without control characters")
        return hint(value)
    raise TypeError(f"a field of type {hint} cannot be read from JSON")


def _fit_any(hints: tuple[Any, ...], value: Any) -> Any:
    wanted = []
    for hint in hints:
        try:
            return _fit(hint, value)
        except _Unfit as error:
            wanted.append(str(error))
    raise _Unfit(" or ".join(wanted))


def _fit_tuple(hints: tuple[Any, ...], value: Any) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple) or len(value) > _MOST_ENTRIES:
        raise _Unfit(f"a list of at most {_MOST_ENTRIES} entries")
    if len(hints) == 2 and hints[1] is Ellipsis:
        hints = (hints[0],) * len(value)
    if len(hints) != len(value):
        raise _Unfit(f"a list of {len(hints)} entries")
    try:
        return tuple(_fit(hint, one) for hint, one in zip(hints, value, strict=True))
    except _Unfit as wanted:
        raise _Unfit(f"a list, each entry {wanted}") from None
