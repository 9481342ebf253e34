"""Past policies of a training run: a bounded store, and which of them is drawn."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from jaxfactory.league import ratings
from jaxfactory.models.normalization import Normalizer
from jaxfactory.types import Params


# Smallest weight of a snapshot in the draw, relative to one that always wins.
_LEAST = 0.05


@dataclass
class Snapshot:
    """A policy as it was during training.

    Attributes:
        frames: Frames it had been trained for.
        params: Its parameters.
        normalizer: Its statistics.
        rating: On Elo's scale, from training matches.
        wins: Of its matches against policies that are trained.
        draws: Likewise.
        losses: Likewise.
    """

    frames: int
    params: Params
    normalizer: Normalizer
    rating: float = ratings.BASE
    wins: int = 0
    draws: int = 0
    losses: int = 0


class SnapshotStore:
    """The snapshots of a run, oldest first, at most a given number.

    The first one and the newest stay. Of the others, the one goes whose neighbors are
    closest together in relation to its age: old snapshots become sparse, and recent
    ones stay dense.

    Attributes:
        snapshots: Oldest first.
    """

    def __init__(self, kept: int):
        """Create an empty store.

        Args:
            kept: How many snapshots it holds, at least 1.
        """
        self._kept = kept
        self.snapshots: list[Snapshot] = []

    def add(self, snapshot: Snapshot) -> None:
        """Add a snapshot that is newer than all others; drop one if there are too many.

        Args:
            snapshot: The new one.
        """
        self.snapshots.append(snapshot)
        if len(self.snapshots) > self._kept:
            self.snapshots.pop(self._superfluous())

    def _superfluous(self) -> int:
        frames = [snapshot.frames for snapshot in self.snapshots]
        between = range(1, len(frames) - 1)

        def density(index: int) -> float:
            gap = frames[index + 1] - frames[index - 1]
            return gap / (frames[-1] - frames[index])

        return min(between, key=density) if self._kept > 1 else 0


def weights(snapshots: Sequence[Snapshot], rating: float) -> Float[np.ndarray, "N"]:
    """Return the chances of each snapshot in the draw.

    They are proportional to what it is expected to score, so that most matches are
    against opponents that still teach something (prioritized fictitious self-play,
    Vinyals et al., "Grandmaster level in StarCraft II", Nature 575, 2019).

    Args:
        snapshots: Those that may be drawn.
        rating: Of the policy that is trained.
    """
    found = np.array(
        [max(_LEAST, ratings.expected(one.rating, rating)) for one in snapshots]
    )
    return found / found.sum()


def draw(
    snapshots: Sequence[Snapshot], rng: np.random.Generator, rating: float
) -> Snapshot:
    """Return one of several snapshots at random; see `weights`."""
    return snapshots[rng.choice(len(snapshots), p=weights(snapshots, rating))]
