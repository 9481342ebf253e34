"""Action heads: independent categorical choices from the buttons of a .cfg file."""

from typing import NamedTuple

from jaxfactory.scenarios.cfg_file import GameConfig
from jaxfactory.spec import ActionSpec


# A choice sets the values of buttons; a head is a tuple of choices.
Choice = tuple[tuple[str, float], ...]
Head = tuple[Choice, ...]

# Buttons that exclude each other share a head.
_OPPOSITES = (
    ("TURN_LEFT", "TURN_RIGHT"),
    ("MOVE_FORWARD", "MOVE_BACKWARD"),
    ("MOVE_LEFT", "MOVE_RIGHT"),
    ("MOVE_UP", "MOVE_DOWN"),
    ("LOOK_UP", "LOOK_DOWN"),
    ("SELECT_NEXT_WEAPON", "SELECT_PREV_WEAPON"),
    ("SELECT_NEXT_ITEM", "SELECT_PREV_ITEM"),
    tuple(f"SELECT_WEAPON{i}" for i in range(10)),
)
_DELTA_CHOICES = 11
_DELTA_RANGE = 10.0


class Delta(NamedTuple):
    """How a button with a value (``..._DELTA``) becomes a head.

    Index i has the value ``-limit + i * 2 * limit / (choices - 1)``. With an odd number
    of choices the middle index, not index 0, is "nothing". The value of
    TURN_LEFT_RIGHT_DELTA is in degrees per tic; positive turns right.
    """

    choices: int
    limit: float


def flat(config: GameConfig, delta: Delta | None = None) -> tuple[Head, ...]:
    """Return one head with every binary button, and one per delta button."""
    binary = _binary(config)
    groups = [binary] if binary else []
    return (*_heads(groups), *_delta_heads(config, delta))


def grouped(config: GameConfig, delta: Delta | None = None) -> tuple[Head, ...]:
    """Return a head per group of opposite buttons, then one per delta button.

    Heads and choices follow the order of the buttons in the file.
    """
    groups: dict[object, list[str]] = {}
    for button in _binary(config):
        key = next((group for group in _OPPOSITES if button in group), button)
        groups.setdefault(key, []).append(button)
    return (*_heads(list(groups.values())), *_delta_heads(config, delta))


def action_spec(heads: tuple[Head, ...]) -> ActionSpec:
    """Return the sizes of heads and the names of their choices."""

    def name(choice: Choice) -> str:
        return "+".join(
            button if value == 1.0 else f"{button}={value:g}"
            for button, value in choice
        )

    return ActionSpec(
        heads=tuple(len(head) for head in heads),
        names=tuple(tuple(name(c) or "NOTHING" for c in head) for head in heads),
    )


def _binary(config: GameConfig) -> list[str]:
    return [button for button in config.buttons if not button.endswith("_DELTA")]


def _heads(groups: list[list[str]]) -> list[Head]:
    """Return a head per group: "nothing", then each button."""
    return [((), *(((button, 1.0),) for button in group)) for group in groups]


def _delta_heads(config: GameConfig, delta: Delta | None) -> list[Head]:
    buttons = [button for button in config.buttons if button.endswith("_DELTA")]
    return [
        _even(button, delta)
        if delta
        else _nothing_first(button, config.max_values.get(button, 0.0))
        for button in buttons
    ]


def _even(button: str, delta: Delta) -> Head:
    step = 2 * delta.limit / (delta.choices - 1)
    values = [-delta.limit + i * step for i in range(delta.choices)]
    return tuple(((button, value),) if abs(value) > 1e-9 else () for value in values)


def _nothing_first(button: str, limit: float) -> Head:
    head = _even(button, Delta(_DELTA_CHOICES, limit or _DELTA_RANGE))
    # Stable: the other choices stay in order, from left to right.
    return tuple(sorted(head, key=bool))
