"""Seats: whose policy acts in each row of a pool, and whether that row is learned from.

A match's agents are consecutive rows. Who owns a row is fixed, so that the rows of each
policy make batches of constant size, and so that a rollout can be reduced to the rows
that learn. Rows that do not learn never reach the update: not its losses, not its
statistics, not its bonuses.
"""

from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Int

from jaxfactory._util.errors import UserError
from jaxfactory.types import Rollout


# The owner of the rows that act with opponents drawn for each match.
DRAWN = -1


class Seats(NamedTuple):
    """Owners of the rows of a pool.

    Attributes:
        owner: Index of the policy that acts in each row; `DRAWN` where opponents do.
        learns: Whether the owner is trained on the row.
    """

    owner: Int[np.ndarray, " B"]
    learns: Bool[np.ndarray, " B"]

    def rows(self, owner: int) -> np.ndarray:
        """Return the rows in which a policy acts, in ascending order."""
        return np.flatnonzero(self.owner == owner)

    def learning_rows(self, owner: int | None = None) -> np.ndarray:
        """Return the rows that a policy is trained on; by default those of all."""
        chosen = self.learns if owner is None else self.learns & (self.owner == owner)
        return np.flatnonzero(chosen)

    def learning(self, rollout: Rollout, owner: int | None = None) -> Rollout:
        """Return a copy of a rollout without the rows that do not learn.

        Args:
            rollout: Of all rows; leaves ``[T, B, ...]``.
            owner: Keep the rows of this policy only.
        """
        rows = self.learning_rows(owner)
        flat = {"carry": rollout.carry, "bootstrap_value": rollout.bootstrap_value}
        rest = rollout._replace(carry=(), bootstrap_value=())
        return jax.tree.map(lambda x: x[:, rows], rest)._replace(
            **jax.tree.map(lambda x: x[rows], flat)
        )


def self_play_seats(num_envs: int, num_groups: int, agents: int, share: float) -> Seats:
    """Return the seats of one policy that plays some matches against its past.

    In each group, the first matches are those of `past_owners`.

    Args:
        num_envs: Rows of the pool, in whole matches for each group.
        num_groups: Groups of the pool.
        agents: Rows of a match.
        share: Share of the matches that have opponents; rounded to whole matches of a
            group, at least one.

    Raises:
        UserError: If the matches have a single agent.
    """
    check_match(share, agents)
    matches = num_envs // num_groups // agents
    chosen = share_of(matches, share)
    present = np.zeros((matches - chosen) * agents, int)
    groups = [
        np.append(past_owners(group * chosen, chosen, agents, 1), present)
        for group in range(num_groups)
    ]
    owner = np.concatenate(groups)
    return Seats(owner, owner != DRAWN)


def check_match(share: float, agents: int) -> None:
    """Check that there are seats for opponents.

    Raises:
        UserError: If there are none.
    """
    if agents < 2:
        raise UserError(
            f"--self-play-share {share:g} needs a match of several agents, and this "
            f"scenario has {agents}; choose --scenario duel, or leave it out"
        )


def share_of(matches: int, share: float) -> int:
    """Return how many of a group's matches have opponents, at least one."""
    return min(max(1, round(share * matches)), matches)


def past_owners(
    first: int, matches: int, agents: int, policies: int
) -> Int[np.ndarray, " B"]:
    """Return the owners of the rows of matches in which policies play against the past.

    The policies take turns. Opponents have half of the seats of a match, from the first
    or from the second one: each policy's matches take turns, and so do the policies.

    Args:
        first: How many such matches the groups before have.
        matches: Their number here.
        agents: Rows of a match.
        policies: Number of policies.
    """
    owner = np.empty((matches, agents), int)
    for match in range(matches):
        number = first + match
        owner[match] = number % policies
        seat = (number // policies + number % policies) % 2
        owner[match, seat::2][: agents // 2] = DRAWN
    return owner.reshape(-1)


def scatter(parts: list[tuple[np.ndarray, Any]], size: int) -> Any:
    """Return arrays of all rows from those of some rows each.

    Args:
        parts: Rows, and a pytree of arrays ``[n, ...]`` for them, of which the first
            ``len(rows)`` count.
        size: Number of rows.
    """

    def one(*leaves: np.ndarray) -> np.ndarray:
        whole = np.empty((size, *leaves[0].shape[1:]), leaves[0].dtype)
        for (rows, _), leaf in zip(parts, leaves, strict=True):
            whole[rows] = leaf[: len(rows)]
        return whole

    return jax.tree.map(one, *(tree for _, tree in parts))


def padded(rows: np.ndarray) -> np.ndarray:
    """Return rows repeated up to a power of two, so that few programs are compiled."""
    size = 1 << (len(rows) - 1).bit_length()
    return np.resize(rows, size)
