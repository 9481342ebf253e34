"""Shapes of observations and actions: what a network must know of an environment."""

from typing import NamedTuple


class ObservationSpec(NamedTuple):
    """Shapes of one observation, without batch axes.

    Attributes:
        image: (height, width, channels) of the uint8 image; None if there is none.
        measurements: Number of float32 measurements; 0 if there are none.
    """

    image: tuple[int, int, int] | None
    measurements: int = 0

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each part of an observation, by its name."""
        shapes: dict[str, tuple[int, ...]] = {}
        if self.image is not None:
            shapes["image"] = tuple(self.image)
        if self.measurements:
            shapes["measurements"] = (self.measurements,)
        return shapes


class ActionSpec(NamedTuple):
    """Independent categorical action heads and continuous values.

    An action is one row: an index for each head, then the continuous values. It is
    int32 if there are only heads, else float32, which represents the indices exactly.

    Attributes:
        heads: Number of choices of each head. Index 0 is "nothing", except in heads
            with an `action_heads.Delta`, where the middle index is.
        names: For each head, the name of each of its choices.
        continuous: Number of continuous values, scaled so that -1 to 1 is the usual
            range.
    """

    heads: tuple[int, ...]
    names: tuple[tuple[str, ...], ...] = ()
    continuous: int = 0

    @property
    def width(self) -> int:
        """Number of entries in an action's row."""
        return len(self.heads) + self.continuous

    @property
    def dtype(self) -> str:
        """Element type of an action's row."""
        return "float32" if self.continuous else "int32"


class EnvSpec(NamedTuple):
    """Shapes of an environment's observations and actions.

    Attributes:
        observation: What the policy sees.
        action: What it chooses.
        variables: Number of game variables that a step reports; 0 if there are none.
    """

    observation: ObservationSpec
    action: ActionSpec
    variables: int = 0
