"""Shaped rewards and measurements, slowly, from what `DoomGame` tells.

Written from the description of the schemes alone: it shares no table with the package.
"""

from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import vizdoom
from doom_reference import make_game, start

from jaxfactory.envs.step import Step, StepInfo


SLOTS = [
    (f"WEAPON{i}", f"AMMO{i}", p) for i, p in enumerate([1, 1, 1, 5, 5, 5, 10, 10])
]
# variable: (for a unit of rise, for a unit of fall)
COMMON = {"ARMOR": (0.005, -0.001)} | {
    name: pair
    for weapon, ammo, p in SLOTS
    for name, pair in (
        (weapon, (0.02 * p, -0.01 * p)),
        (ammo, (0.0002 * p, -0.0001 * p)),
    )
}
SCHEMES = {
    "v0": {
        "FRAGCOUNT": (1, -1.5),
        "DEATHCOUNT": (-0.75, 0.75),
        "HITCOUNT": (0.01, -0.01),
        "DAMAGECOUNT": (0.003, -0.003),
        "HEALTH": (0.005, -0.003),
        **COMMON,
    },
    "v1": {
        "FRAGCOUNT": (1, -0.001),
        "DEATHCOUNT": (-1, 1),
        "HITCOUNT": (0, 0),
        "DAMAGECOUNT": (0.01, -0.01),
        "HEALTH": (0.01, -0.01),
        **COMMON,
    },
}
CAPS = {"HITCOUNT": 5, "DAMAGECOUNT": 200}
# They go on over episodes.
COUNTERS = ("HITCOUNT", "DAMAGECOUNT", "DEATHCOUNT")
VARIABLES = [
    *SCHEMES["v0"], "SELECTED_WEAPON", "SELECTED_WEAPON_AMMO", "USER2", "ATTACK_READY",
    "PLAYER_COUNT", "DEAD",
]  # fmt: skip
Variables = dict[str, float]


class Decision(NamedTuple):
    reward: float
    variables: Variables
    finished: bool
    first_variables: Variables | None  # of the next episode


def play(
    scenario, *, seed: int, buttons: list[dict[str, float]], variables=VARIABLES
) -> Iterator[Variables | Decision]:
    """Yield the variables of the first state, then one `Decision` for each action."""
    game = make_game(scenario, seed=seed)
    start(game)

    def look() -> Variables:
        return {
            name: game.get_game_variable(getattr(vizdoom.GameVariable, name))
            for name in variables
        }

    try:
        names = [button.name for button in game.get_available_buttons()]
        yield look()
        for held in buttons:
            assert set(held) <= set(names)
            reward = game.make_action([held.get(n, 0.0) for n in names], 4)
            finished, seen = game.is_episode_finished(), look()
            if finished:
                game.new_episode()
            yield Decision(reward, seen, finished, look() if finished else None)
    finally:
        game.close()


class Frags:
    """The frags scheme, one environment's."""

    def __init__(self, version: str, only: tuple[str, ...] = ()):
        scheme = SCHEMES[version]
        self.scheme = {n: pair for n, pair in scheme.items() if not only or n in only}
        self.paid: set[str] = set()

    def open(self, variables: Variables) -> None:
        self.start = variables
        self.before: Variables | None = None
        self.was_dead = True
        self.weapons: deque[float] = deque(maxlen=5)

    def decide(self, variables: Variables, *, last: bool) -> float:
        now = dict(variables, HEALTH=max(0.0, variables["HEALTH"]))
        for name in COUNTERS:
            now[name] -= self.start[name]
        before, self.before = self.before, now
        was_dead, self.was_dead = self.was_dead, bool(now["DEAD"])
        weapon = max(0.0, now["SELECTED_WEAPON"])
        self.weapons.append(weapon)
        if last or before is None or (was_dead and not now["DEAD"]):
            return 0.0
        reward = 0.0
        for name, (rise, fall) in self.scheme.items():
            change = min(now[name] - before[name], CAPS.get(name, np.inf))
            if change > 0:
                reward += change * rise
                self.paid.add(f"{name} rose")
            elif change < 0:
                reward += -change * fall
                self.paid.add(f"{name} fell")
        same = list(self.weapons) == [weapon] * 5
        if same and now["SELECTED_WEAPON_AMMO"] > 0:
            reward += 0.002
            self.paid.add("held")
        return reward


class Gathering:
    """+1 for each rise of health."""

    def __init__(self):
        self.paid: set[str] = set()

    def open(self, variables: Variables) -> None:
        self.before: float | None = None

    def decide(self, variables: Variables, *, last: bool) -> float:
        before, self.before = self.before, variables["HEALTH"]
        if last or before is None or self.before <= before:
            return 0.0
        self.paid.add("rose")
        return 1.0


class Nothing:
    """No shaping."""

    def open(self, variables: Variables) -> None:
        pass

    def decide(self, variables: Variables, *, last: bool) -> float:
        return 0.0


def measurements(variables: Variables, absent: tuple[str, ...] = ()) -> list[float]:
    """The field's 23 numbers."""
    v = variables | dict.fromkeys(absent, 0.0)
    ammo = max(0.0, v["SELECTED_WEAPON_AMMO"])
    return [
        max(0.0, v["SELECTED_WEAPON"]),
        min(ammo / 15, 5.0),
        max(0.0, v["HEALTH"]) / 30,
        v["ARMOR"] / 30,
        v["USER2"] / 10,
        v["ATTACK_READY"],
        v["PLAYER_COUNT"] / 5,
        *(max(0.0, v[f"WEAPON{i}"]) for i in range(8)),
        *(min(max(0.0, v[f"AMMO{i}"]) / 15, 5.0) for i in range(8)),
    ]


def step_of(*, reward, ended, restarted=None) -> Step:
    """One step of some environments; only what shaping looks at is filled in."""
    count = len(reward)
    ended = np.array(ended, bool)
    none = np.zeros(count, bool)
    info = StepInfo(**dict.fromkeys(StepInfo._fields))._replace(
        episode_shaped_return=np.array(reward, np.float32),
        restarted=none if restarted is None else np.array(restarted, bool),
    )
    return Step(**dict.fromkeys(Step._fields))._replace(
        reward=np.array(reward, np.float32), terminated=ended, truncated=none, info=info
    )
