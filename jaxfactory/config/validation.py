"""Checks shared by settings; each error message names the flag."""

import math
import re
from typing import Any

from jaxfactory._util.errors import UserError


def positive(owner: Any, *names: str) -> None:
    """Refuse a setting that is not greater than 0 or not finite.

    A tuple is checked entry by entry.
    """
    for name in names:
        value = getattr(owner, name)
        each = value if isinstance(value, tuple) else (value,)
        if not all(0 < number < math.inf for number in each):
            flag, text = name.replace("_", "-"), " ".join(map(str, each))
            raise UserError(
                f"--{flag} {text} must be greater than 0; leave it out for the default"
            )


def at_most(owner: Any, **limits: int | float) -> None:
    """Refuse a setting that is greater than its limit.

    A tuple is checked entry by entry; None passes.
    """
    for name, limit in limits.items():
        value = getattr(owner, name)
        each = value if isinstance(value, tuple) else (value,)
        if not all(number is None or number <= limit for number in each):
            flag, text = name.replace("_", "-"), " ".join(map(str, each))
            most = f"{limit:,}" if isinstance(limit, int) else f"{limit:g}"
            raise UserError(f"--{flag} {text} must be at most {most}")


def not_longer(owner: Any, limit: int, *names: str) -> None:
    """Refuse a tuple with more entries than the limit."""
    for name in names:
        if (number := len(getattr(owner, name))) > limit:
            flag = name.replace("_", "-")
            raise UserError(f"--{flag} has {number} entries and may have {limit}")


def within(owner: Any, name: str, low: float, high: float) -> None:
    """Refuse a setting outside of two bounds, which are inclusive."""
    value = getattr(owner, name)
    if not low <= value <= high:
        flag = name.replace("_", "-")
        raise UserError(f"--{flag} {value} must be between {low:g} and {high:g}")


def seed(value: int) -> None:
    """Refuse a seed that is not in 0 to 2^32 - 1."""
    if not 0 <= value < 2**32:
        raise UserError(f"--seed {value} must be between 0 and 4294967295")


def names_checkpoint(value: str) -> bool:
    """Whether a text is best, latest or a number of frames."""
    return re.fullmatch("best|latest|[0-9]{1,20}", value) is not None


def checkpoint(value: str) -> None:
    """Refuse a name of a checkpoint that is not best, latest or a number of frames."""
    if not names_checkpoint(value):
        raise UserError(
            f"--checkpoint {value!r:.60} must be best, latest, or the frames of a "
            "checkpoint that --keep-every kept, as in 1000000"
        )


def policy(value: str) -> None:
    """Refuse a policy's name that is neither best nor a number."""
    if value != "best" and not re.fullmatch("[0-9]{1,5}", value):
        raise UserError(
            f"--policy {value!r:.60} must be the number of a policy, or best"
        )
