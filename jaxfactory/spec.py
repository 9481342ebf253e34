"""Shapes of what an environment shows and takes: all that a network must know of it."""

from typing import NamedTuple


class ObservationSpec(NamedTuple):
    """Shapes of one observation, without batch axes.

    Attributes:
        image: (height, width, channels) of the uint8 image.
        measurements: Number of float32 measurements, 0 for none.
    """

    image: tuple[int, int, int]
    measurements: int = 0


class ActionSpec(NamedTuple):
    """Independent categorical action heads.

    Attributes:
        heads: Number of choices of each head. Index 0 is "nothing", but for the heads
            of `heads.Delta`, where it is the middle one.
        names: For each head, the name of each of its choices.
    """

    heads: tuple[int, ...]
    names: tuple[tuple[str, ...], ...] = ()


class EnvSpec(NamedTuple):
    """Observations and actions of an environment."""

    observation: ObservationSpec
    action: ActionSpec
