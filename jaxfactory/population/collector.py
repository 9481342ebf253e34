"""Collecting the rollouts of several policies from one pool."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxfactory.league.acting import Actor, act_in_batches
from jaxfactory.league.seats import DRAWN, Seats
from jaxfactory.league.self_play import SelfPlay
from jaxfactory.models.actor_critic import ActorCritic
from jaxfactory.rollout.collector import RolloutCollector
from jaxfactory.rollout.episode import Episode, ended_episodes
from jaxfactory.rollout.policy import Policy
from jaxfactory.rollout.truncation import Truncation, final_values
from jaxfactory.types import Carry, Rollout


class Policies(NamedTuple):
    """What acting needs of all policies.

    Attributes:
        members: By their numbers.
        version: Updates that each of them has had.
    """

    members: tuple[Policy, ...]
    version: float


class CollectedRollouts(NamedTuple):
    """What was collected for all policies.

    Attributes:
        rollouts: One for each policy, of the rows it learns from; on the device.
        episodes: Those of each policy that ended in its rollout.
        metrics: Seconds by phase, and engines restarted so far.
    """

    rollouts: tuple[Rollout, ...]
    episodes: tuple[list[Episode], ...]
    metrics: dict[str, float]


class PopulationCollector(RolloutCollector):
    """A collector whose rows belong to policies.

    ``newest`` returns `Policies`, and `collect_all` replaces `collect`.
    """

    def __init__(
        self,
        pool: Any,
        network: ActorCritic,
        seats: Seats,
        *,
        share: tuple[int, int] = (0, 1),
        rivals: Sequence[SelfPlay] = (),
        **options: Any,
    ):
        """Take over the pool.

        Args:
            pool: The environments.
            network: The actor-critic of all policies.
            seats: Who acts in which row.
            share: Number of this process, and of all processes: its groups come after
                those of the processes before it.
            rivals: The self-play of each policy; they act in the seats of opponents.
            **options: Further arguments of `RolloutCollector`.
        """
        super().__init__(pool, network, **options)
        self._owner = seats.owner
        self._rivals = rivals
        self._policies = int(seats.owner.max()) + 1
        self._rows = [_as_slice(seats.rows(i)) for i in range(self._policies)]
        # Of each group, by its first row: who acts, and in which of its rows. Opponents
        # are drawn for each match.
        self._batches: dict[int, list[tuple[int, np.ndarray]]] = {}
        for group in self._groups:
            rows = pool.rows(group)
            owner = seats.owner[rows]
            self._batches[rows.start] = [
                (int(i), np.flatnonzero(owner == i))
                for i in np.unique(owner[owner != DRAWN])
            ]
        before, parts = share
        self._groups_before = before * len(self._groups)
        self._all_groups = parts * len(self._groups)
        self._stride = self._num_steps * self._all_groups
        self._ended_owners: list[int] = []

    def collect_all(
        self, number: int, newest: Callable[[], Policies]
    ) -> CollectedRollouts:
        """Collect `num_steps` steps of every environment; see `collect`."""
        self._ended_owners = []
        rollout, ended, metrics = self.collect(number, newest)
        episodes: tuple[list[Episode], ...] = tuple([] for _ in range(self._policies))
        for owner, episode in zip(self._ended_owners, ended, strict=True):
            episodes[owner].append(episode)
        with self.timer.phase("transfer"):
            rollouts = tuple(_part(rollout, rows) for rows in self._rows)
        for rival in self._rivals:
            rival.end_rollout(self._num_steps)
        # What the split took is counted with the next rollout's phases.
        return CollectedRollouts(rollouts, episodes, metrics)

    def forget(self, policies: Sequence[int]) -> None:
        """Empty the recurrent state of policies that have other parameters now."""
        for group in self._groups if policies else ():
            mine = np.isin(self._owner[self._pool.rows(group)], policies)
            self._carry[group] = jax.tree.map(
                lambda new, old, mine=mine: np.where(
                    mine.reshape(-1, *[1] * (new.ndim - 1)), new, old
                ),
                self._first_carry[group],
                self._carry[group],
            )

    def _start(self, number: int, newest: Callable[[], Policies]) -> Any:
        if self._rivals:
            members = newest().members
            # The past of each is there before the opponents of any are drawn.
            for rival, member in zip(self._rivals, members, strict=True):
                rival.maybe_keep(member)
            for rival, member in zip(self._rivals, members, strict=True):
                rival.begin_rollout(member)
        return super()._start(number, newest)

    def _count(self, group: int, t: int) -> int:
        return t * self._all_groups + self._groups_before + group

    def _choose(
        self, policy: Policies, rows: slice, inputs: Any, key: Any, count: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, Carry]:
        batches: list[tuple[Actor, np.ndarray]] = [
            (policy.members[i], at) for i, at in self._batches[rows.start]
        ]
        for rival in self._rivals:
            batches.extend(rival.opponents(rows))
        if len(batches) == 1:
            return super()._choose(batches[0][0], rows, inputs, key, count)
        counts = (count, self._stride)
        return act_in_batches(self._act_fn, batches, inputs, key, counts)

    def _values(self, policy: Policies, rows: slice, *inputs: Any) -> np.ndarray:
        inputs = jax.tree.map(np.asarray, inputs)
        # Opponents' rows have no value: nothing is learned from them.
        result = np.zeros(rows.stop - rows.start, np.float32)
        for owner, at in self._batches[rows.start]:
            one = policy.members[owner]
            part = jax.tree.map(lambda x, at=at: x[at], inputs)
            result[at] = self._value_fn(one.params, one.normalizer, *part)
        return result

    def _final_values(
        self, policy: Policies, cuts: list[Truncation], shape: tuple[int, int]
    ) -> np.ndarray:
        result = np.zeros(shape, np.float32)
        size = len(next(iter(self._batches.values()))[0][1])
        for owner, one in enumerate(policy.members):
            own = [_of(cut, self._owner[cut.rows] == owner) for cut in cuts]
            own = [cut for cut in own if len(cut.rows)]
            # 0 wherever no episode of this policy was truncated.
            result += final_values(
                own,
                shape,
                lambda *x, one=one: self._value_fn(one.params, one.normalizer, *x),
                size,
            )
        return result

    def _results(self, step: Any, start: int) -> Iterator[Episode]:
        for row, episode in ended_episodes(step):
            owner = int(self._owner[start + row])
            if owner != DRAWN:
                self._ended_owners.append(owner)
                yield episode
        for rival in self._rivals:
            rival.receive(step, start)


def _of(cut: Truncation, mine: np.ndarray) -> Truncation:
    return cut._replace(
        rows=cut.rows[mine],
        picked=cut.picked[mine],
        final_obs={name: leaf[mine] for name, leaf in cut.final_obs.items()},
    )


def _as_slice(rows: np.ndarray) -> slice | np.ndarray:
    """Return consecutive rows as a slice, whose arrays are views."""
    if rows[-1] - rows[0] + 1 == len(rows):
        return slice(int(rows[0]), int(rows[-1]) + 1)
    return rows


def _part(rollout: Rollout, rows: slice | np.ndarray) -> Rollout:
    """Return a copy of some rows on the device: each minibatch reads them again."""
    flat = {"carry": rollout.carry, "bootstrap_value": rollout.bootstrap_value}
    rest = rollout._replace(carry=(), bootstrap_value=())
    parts = jax.tree.map(lambda x: x[:, rows], rest)._replace(
        **jax.tree.map(lambda x: x[rows], flat)
    )
    return jax.device_put(parts)
