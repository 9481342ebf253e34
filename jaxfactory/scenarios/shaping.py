"""Reward shaping: training rewards for changes of game variables.

A scheme is a table of rows, which the C++ core evaluates at each step, or a Python
function over batches of game variables. Tables add nothing on the first and last step
of an episode, nor on the step after a respawn; functions decide for themselves.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64


class Shaping(NamedTuple):
    """A reward for changes of a game variable between two agent steps.

    Attributes:
        variable: Its name in ViZDoom's GameVariable.
        rise: Reward per unit of increase.
        fall: Reward per unit of decrease.
        cap: The largest increase that counts; 0 for no limit.
        per_event: Add `rise` or `fall` once, whatever the size of the change.
        not_negative: Clip negative values to 0.
    """

    variable: str
    rise: float = 0.0
    fall: float = 0.0
    cap: float = 0.0
    per_event: bool = False
    not_negative: bool = False


class HeldWeapon(NamedTuple):
    """A reward for each agent step with a weapon that has been held for some time.

    Attributes:
        reward: Added if the weapon has ammunition.
        decisions: Agent steps, including this one, that it must have been held for.
    """

    reward: float
    decisions: int = 5


# The name of a HeldWeapon among the rows.
_HELD = "HELD_WEAPON"
# At most one row is a HeldWeapon.
Table = tuple[Shaping | HeldWeapon, ...]

# A game variable's name -> its value in each environment, [B].
Variables = Mapping[str, Float64[np.ndarray, "B"]]
# f(previous, current, first, last) -> [B]: the shaping reward of each environment, from
# the variables after the previous and after this agent step. On the `first` step of an
# episode `previous` is `current`; `last` marks steps that end an episode. Called once
# per step and group, with the variables that the scenario's .cfg file lists.
Function = Callable[
    [Variables, Variables, Bool[np.ndarray, "B"], Bool[np.ndarray, "B"]],
    np.ndarray,
]

# +1 per health pick-up, however much it heals.
GATHERING: Table = (Shaping("HEALTH", rise=1.0, per_event=True),)

# Weapon slots 0-2 are common from the start; 6 and 7 are the strongest weapons.
_PREFERENCE = (1, 1, 1, 5, 5, 5, 10, 10)


def _frags(
    *,
    frag: tuple[float, float],
    death: tuple[float, float],
    hit: tuple[float, float],
    damage: tuple[float, float],
    health: tuple[float, float],
) -> Table:
    """Return a scheme; the arguments are (rise, fall) where the two versions differ."""
    rows: list[Shaping | HeldWeapon] = [
        Shaping("FRAGCOUNT", *frag),
        Shaping("DEATHCOUNT", *death),
        # Without the caps a rocket into a crowd is worth more than a frag.
        Shaping("HITCOUNT", *hit, cap=5),
        Shaping("DAMAGECOUNT", *damage, cap=200),
        # Health below 0 after death must not count.
        Shaping("HEALTH", *health, not_negative=True),
        Shaping("ARMOR", 0.005, -0.001),
    ]
    for slot, weight in enumerate(_PREFERENCE):
        rows.append(Shaping(f"WEAPON{slot}", 0.02 * weight, -0.01 * weight))
        rows.append(Shaping(f"AMMO{slot}", 0.0002 * weight, -0.0001 * weight))
    return (*rows, HeldWeapon(0.002))


# Against bots, and in single-player battles.
FRAGS_V0 = _frags(
    frag=(1.0, -1.5),
    death=(-0.75, 0.75),
    hit=(0.01, -0.01),
    damage=(0.003, -0.003),
    health=(0.005, -0.003),
)
# Between agents: nearly zero-sum.
FRAGS_V1 = _frags(
    frag=(1.0, -0.001),
    death=(-1.0, 1.0),
    hit=(0.0, 0.0),
    damage=(0.01, -0.01),
    health=(0.01, -0.01),
)


def only(table: Table, *variables: str) -> Table:
    """Return the rows for the given variables and the row for a held weapon."""
    return tuple(
        row for row in table if isinstance(row, HeldWeapon) or row.variable in variables
    )


def names(table: Table) -> tuple[str, ...]:
    """Return the names of a table's rows that ever add a reward."""
    return tuple(
        _HELD if isinstance(row, HeldWeapon) else row.variable
        for row in table
        if (row.reward if isinstance(row, HeldWeapon) else row.rise or row.fall)
    )


def weights(table: Table, factors: Mapping[str, float]) -> list[float]:
    """Return the weights of a table's rows, the held weapon last, for a pool.

    Args:
        table: The rows.
        factors: For each of `names`; 1 for those that are missing.
    """
    rows = [row.variable for row in table if isinstance(row, Shaping)]
    return [factors.get(name, 1.0) for name in (*rows, _HELD)]
