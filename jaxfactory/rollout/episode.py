"""An episode that has ended, as the pool reports it."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np


class Episode(NamedTuple):
    """An episode that has ended.

    Attributes:
        shaped_return: Sum of the rewards that the agent is trained on.
        raw_return: Sum of the scenario's own rewards, unshaped.
        length: Frames (Doom's tics).
        truncated: Whether it was truncated instead of terminated.
        frags: In a match, kills minus suicides.
        place: In a match, 1 for the player with the most frags; elsewhere 0.
    """

    shaped_return: float
    raw_return: float
    length: int
    truncated: bool
    frags: int = 0
    place: int = 0


def ended_episodes(step: Any) -> Iterator[tuple[int, Episode]]:
    """Yield the row and the episode of each environment whose episode ended.

    Args:
        step: What a pool's ``recv`` or ``step`` returned.
    """
    info = step.info
    for row in np.flatnonzero(step.terminated | step.truncated):
        yield (
            int(row),
            Episode(
                shaped_return=float(info.episode_shaped_return[row]),
                raw_return=float(info.episode_raw_return[row]),
                length=int(info.episode_length[row]),
                truncated=bool(step.truncated[row]),
                frags=int(info.frags[row]),
                place=int(info.place[row]),
            ),
        )
