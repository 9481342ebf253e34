"""Shapes of what an environment shows and takes: all that a network must know of it."""

from typing import NamedTuple


class ObservationSpec(NamedTuple):
    """Shapes of one observation, without batch axes.

    Attributes:
        image: (height, width, channels) of the uint8 image, None for none.
        measurements: Number of float32 measurements, 0 for none.
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
    """Independent categorical action heads, and numbers beside them.

    An action is one row: an index for each head, then the numbers. Where there are only
    heads it is int32, else float32, which holds the indices exactly.

    Attributes:
        heads: Number of choices of each head. Index 0 is "nothing", but for the heads
            of `heads.Delta`, where it is the middle one.
        names: For each head, the name of each of its choices.
        continuous: How many numbers there are; in units in which -1 to 1 is the usual
            range.
    """

    heads: tuple[int, ...]
    names: tuple[tuple[str, ...], ...] = ()
    continuous: int = 0

    @property
    def width(self) -> int:
        """Entries of an action's row."""
        return len(self.heads) + self.continuous

    @property
    def dtype(self) -> str:
        """Of an action's row."""
        return "float32" if self.continuous else "int32"


class EnvSpec(NamedTuple):
    """Observations and actions of an environment."""

    observation: ObservationSpec
    action: ActionSpec
