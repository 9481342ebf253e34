"""Measurements: the second observation, numbers made from game variables."""

from typing import NamedTuple


class Measurement(NamedTuple):
    """One float32 of the second observation.

    Attributes:
        variable: A game variable's name; "" for a constant 0.
        divisor: The value is divided by it.
        cap: The largest value, after the division; 0 for no limit.
        not_negative: Read a negative value as 0.
    """

    variable: str
    divisor: float = 1.0
    cap: float = 0.0
    not_negative: bool = False


# What the field's agents see beside the image, in their order.
STANDARD = (
    Measurement("SELECTED_WEAPON", not_negative=True),
    Measurement("SELECTED_WEAPON_AMMO", 15.0, cap=5.0, not_negative=True),
    Measurement("HEALTH", 30.0, not_negative=True),
    Measurement("ARMOR", 30.0),
    Measurement("USER2", 10.0),
    Measurement("ATTACK_READY"),
    Measurement("PLAYER_COUNT", 5.0),
    *(Measurement(f"WEAPON{slot}", not_negative=True) for slot in range(8)),
    *(
        Measurement(f"AMMO{slot}", 15.0, cap=5.0, not_negative=True)
        for slot in range(8)
    ),
)
# The field counts at least the player itself where a scenario does not name the count,
# and so does the engine.
_ALWAYS = ("PLAYER_COUNT",)


def standard(variables: list[str]) -> tuple[Measurement, ...]:
    """Return the standard 23; those of variables that are not among these are 0."""
    present = {*variables, *_ALWAYS}
    return tuple(
        row if row.variable in present else Measurement("") for row in STANDARD
    )


def raw(variables: list[str]) -> tuple[Measurement, ...]:
    """Return one measurement for each variable, as the engine has it."""
    return tuple(Measurement(name) for name in variables)
