"""Shaping: what is paid besides the scenario's raw reward, and trained on.

A scheme is a table of rows, which the C++ core computes on its step path, or a Python
function over whole batches of game variables. A table pays nothing on an episode's
first decision, on its last, and on the one after a respawn; a function pays what it
likes.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64


class Shaping(NamedTuple):
    """A reward for changes of a game variable between two decisions.

    Attributes:
        variable: Its name, as ViZDoom's GameVariable has it.
        rise: Added for each unit that the variable rose by.
        fall: Added for each unit that it fell by.
        cap: The largest rise that counts; 0 for no limit.
        per_event: Add `rise` or `fall` once, whatever the change.
        not_negative: Read a negative value as 0.
    """

    variable: str
    rise: float = 0.0
    fall: float = 0.0
    cap: float = 0.0
    per_event: bool = False
    not_negative: bool = False


class HeldWeapon(NamedTuple):
    """A reward for each decision that ends a streak with the same weapon in hand.

    Attributes:
        reward: Added while the weapon has ammunition.
        decisions: For so many decisions, this one included, it must have been held.
    """

    reward: float
    decisions: int = 5


# One of them may be a HeldWeapon.
Table = tuple[Shaping | HeldWeapon, ...]

# A game variable's name -> its value in each environment, [B].
Variables = Mapping[str, Float64[np.ndarray, "B"]]
# f(previous, current, first, last) -> [B]: what is added to each environment's own
# reward, from the variables after the decision before and after this one. Where `first`
# there was none before, and `previous` is `current`. `last` decisions end an episode.
# It is called once a step for the environments of a group, with the scenario's own
# variables, those that its .cfg file names.
Function = Callable[
    [Variables, Variables, Bool[np.ndarray, "B"], Bool[np.ndarray, "B"]],
    np.ndarray,
]

# Once for each pick-up, however much it heals.
GATHERING: Table = (Shaping("HEALTH", rise=1.0, per_event=True),)

# Slots 0-2 hold what every player has or finds early, 6 and 7 the strongest weapons.
_PREFERENCE = (1, 1, 1, 5, 5, 5, 10, 10)


def _frags(
    *,
    frag: tuple[float, float],
    death: tuple[float, float],
    hit: tuple[float, float],
    damage: tuple[float, float],
    health: tuple[float, float],
) -> Table:
    """Return a scheme from the (rise, fall) of what the two versions differ in."""
    rows: list[Shaping | HeldWeapon] = [
        Shaping("FRAGCOUNT", *frag),
        Shaping("DEATHCOUNT", *death),
        # Without the caps a rocket into a crowd is worth more than a frag.
        Shaping("HITCOUNT", *hit, cap=5),
        Shaping("DAMAGECOUNT", *damage, cap=200),
        # How far below 0 a corpse's health goes is nobody's merit.
        Shaping("HEALTH", *health, not_negative=True),
        Shaping("ARMOR", 0.005, -0.001),
    ]
    for slot, weight in enumerate(_PREFERENCE):
        rows.append(Shaping(f"WEAPON{slot}", 0.02 * weight, -0.01 * weight))
        rows.append(Shaping(f"AMMO{slot}", 0.0002 * weight, -0.0001 * weight))
    return (*rows, HeldWeapon(0.002))


# Against bots, and in the single-player battles.
FRAGS_V0 = _frags(
    frag=(1.0, -1.5),
    death=(-0.75, 0.75),
    hit=(0.01, -0.01),
    damage=(0.003, -0.003),
    health=(0.005, -0.003),
)
# Between agents: nearly a zero-sum game.
FRAGS_V1 = _frags(
    frag=(1.0, -0.001),
    death=(-1.0, 1.0),
    hit=(0.0, 0.0),
    damage=(0.01, -0.01),
    health=(0.01, -0.01),
)


def only(table: Table, *variables: str) -> Table:
    """Return the rows for these variables, and the one for a held weapon."""
    return tuple(
        row for row in table if isinstance(row, HeldWeapon) or row.variable in variables
    )
