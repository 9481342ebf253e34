"""Measurements: the second observation, a vector of scaled game variables."""

from typing import NamedTuple


class Measurement(NamedTuple):
    """One element of the second observation, float32.

    Attributes:
        variable: A game variable's name; "" for a constant 0.
        divisor: Divides the value.
        cap: The largest value, after the division; 0 for no limit.
        not_negative: Clip negative values to 0.
    """

    variable: str
    divisor: float = 1.0
    cap: float = 0.0
    not_negative: bool = False


# The measurements of Sample Factory's agents, in their order.
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
# Even without PLAYER_COUNT in the .cfg file, Sample Factory and the engine report one
# player.
_ALWAYS = ("PLAYER_COUNT",)


def standard(variables: list[str]) -> tuple[Measurement, ...]:
    """Return the standard 23; those of missing variables are constant 0."""
    present = {*variables, *_ALWAYS}
    return tuple(
        row if row.variable in present else Measurement("") for row in STANDARD
    )


def raw(variables: list[str]) -> tuple[Measurement, ...]:
    """Return one unscaled measurement per variable."""
    return tuple(Measurement(name) for name in variables)
