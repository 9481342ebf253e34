"""Action heads: from a .cfg file's buttons to independent categorical choices."""

from typing import NamedTuple

from jaxfactory.scenarios.cfg_file import GameConfig
from jaxfactory.spec import ActionSpec


# What one choice does, as values for buttons; and the choices of a head.
Choice = tuple[tuple[str, float], ...]
Head = tuple[Choice, ...]

# Buttons that cannot sensibly be held together share a head.
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
    """How a button that takes a value (``..._DELTA``) becomes a head.

    Index i is the value ``-limit + i * 2 * limit / (choices - 1)``: the values rise
    evenly, so with an odd number of choices the middle index is "nothing", not index
    0. For TURN_LEFT_RIGHT_DELTA a value is degrees a tic, to the right where positive.
    """

    choices: int
    limit: float


def flat(config: GameConfig, delta: Delta | None = None) -> tuple[Head, ...]:
    """Return one head of all single buttons, and one for each delta button."""
    binary = _binary(config)
    groups = [binary] if binary else []
    return (*_heads(groups), *_delta_heads(config, delta))


def grouped(config: GameConfig, delta: Delta | None = None) -> tuple[Head, ...]:
    """Return a head for each group of opposite buttons and for each delta button.

    Heads and their choices are in the order of the file's buttons; the delta buttons'
    heads come last.
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
    """Put "nothing" before the buttons of each group."""
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
    # A stable sort: the others stay in their order, from left to right.
    return tuple(sorted(head, key=bool))
