"""Self-play against the past: who acts where, results of matches, ratings.

Doom's matches take minutes, so a rule that waits for thousands of results before it
keeps a policy, as in short games, would keep one every few hours. Snapshots are taken
every so many frames instead, and results decide only how often each is drawn.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from jaxfactory.league import ratings
from jaxfactory.league.acting import Acted, Actor, act_in_batches
from jaxfactory.league.seats import DRAWN, Seats
from jaxfactory.league.snapshots import Snapshot, SnapshotStore, draw
from jaxfactory.types import Carry, Observation


# Matches of the win rate in the metrics.
_WINDOW = 100


class SelfPlay:
    """Opponents from the past for one policy that is trained.

    The collector that uses it may run on its own thread; `record` may be called from
    any. Those of a population are used on one thread.

    Attributes:
        seats: Who acts in which row.
        store: Snapshots of the policy that is trained.
        rivals: The self-play of each policy whose snapshots are its opponents; of
            itself alone, unless others are set.
        rating: Of the policy that is trained.
        matches: Matches against snapshots that have ended.
        frames: Frames of the rows that learn, over the whole run.
    """

    def __init__(
        self,
        seats: Seats,
        *,
        agents: int,
        every: int,
        kept: int,
        seed: int,
        frame_skip: int = 1,
        policy: int = 0,
        stream: int = 0,
    ):
        """Start without snapshots; the first rollout takes one.

        Args:
            seats: Who acts in which row.
            agents: Rows of a match.
            every: Frames between snapshots.
            kept: Snapshots that are kept.
            seed: Seed of the draw.
            frame_skip: Frames per step.
            policy: The owner of the rows of the policy that is trained.
            stream: Tells its draws from those of other policies with the same seed.
        """
        self.seats = seats
        self.store = SnapshotStore(kept)
        self.rivals: Sequence[SelfPlay] = (self,)
        self.rating = ratings.BASE
        self.matches = 0
        self.frames = 0
        self._agents = agents
        self._every = every
        self._seed = (seed, stream)
        self._frame_skip = frame_skip
        self._learning = len(seats.learning_rows(policy))
        drawn = seats.rows(DRAWN) // agents
        mine = np.intersect1d(drawn, seats.rows(policy) // agents)
        self._opponents: dict[int, Snapshot | None] = dict.fromkeys(mine.tolist())
        self._not_rated: set[int] = set()
        self._draws = 0
        self._scores: deque[float] = deque(maxlen=_WINDOW)
        self._lock = threading.Lock()

    def begin_rollout(self, policy: Actor) -> None:
        """Take a snapshot if it is time, and draw opponents where there are none yet.

        Args:
            policy: The policy that is trained.
        """
        self.maybe_keep(policy)
        with self._lock:
            for match, opponent in self._opponents.items():
                if opponent is None:
                    self._opponents[match] = self._drawn()

    def maybe_keep(self, policy: Actor) -> None:
        """Take a snapshot of the policy that is trained if it is time."""
        newest = self.store.snapshots[-1].frames if self.store.snapshots else None
        with self._lock:
            if newest is None or self.frames // self._every > newest // self._every:
                snapshot = Snapshot(self.frames, policy.params, policy.normalizer)
                snapshot.rating = self.rating
                self.store.add(snapshot)

    def end_rollout(self, num_steps: int) -> None:
        """Count the frames of a rollout."""
        self.frames += self._learning * num_steps * self._frame_skip

    def act(
        self,
        act: Callable[..., Any],
        policy: Actor,
        rows: slice,
        obs: Observation,
        carry: Carry,
        is_first: np.ndarray,
        key: Any,
        counts: tuple[int, int],
    ) -> Acted:
        """Choose the actions of a group's rows, each with its owner's policy.

        Args:
            act: What ``make_act`` returned.
            policy: The policy that is trained.
            rows: The group's, in the pool.
            obs: Of the group.
            carry: Of the group.
            is_first: Of the group.
            key: The rollout's.
            counts: The count for `act`, and the number of counts in a rollout.
        """
        inputs = (obs, carry, is_first)
        return act_in_batches(act, self._batches(policy, rows), inputs, key, counts)

    def opponents(self, rows: slice) -> Iterator[tuple[Snapshot, np.ndarray]]:
        """Yield the opponents in a group's rows of the pool, each with its own."""
        drawn = np.flatnonzero(self.seats.owner[rows] == DRAWN)
        matches = ((drawn + rows.start) // self._agents).tolist()
        for opponent in {id(x): x for x in self._opponents.values()}.values():
            mine = [self._opponents.get(match) is opponent for match in matches]
            if opponent is not None and any(mine):
                yield opponent, drawn[mine]

    def become(self, rating: float) -> None:
        """Take over the rating of a policy that this one has become a copy of.

        Matches that other parameters began do not count.
        """
        self.rating = rating
        self._scores.clear()
        self._not_rated = set(self._opponents)

    def receive(self, step: Any, start: int) -> None:
        """Rate the matches that ended with a step, and draw their next opponents.

        Args:
            step: Of a group.
            start: The group's first row in the pool.
        """
        ended = step.terminated | step.truncated
        for match in self._opponents:
            first = match * self._agents - start
            if not 0 <= first < len(ended) or not ended[first]:
                continue
            rows = slice(first, first + self._agents)
            counts = match not in self._not_rated
            if counts and not step.info.restarted[rows].any():
                self._rate(match, step.info.frags[rows])
            self._not_rated.discard(match)
            self._opponents[match] = self._drawn()

    def metrics(self) -> dict[str, float]:
        """Return ratings and results."""
        snapshots = self.store.snapshots
        found = {
            "league/rating": self.rating,
            "league/matches": float(self.matches),
            "league/snapshots": float(len(snapshots)),
            "league/rating_oldest": snapshots[0].rating,
            "league/rating_newest": snapshots[-1].rating,
            "league/rating_best": max(one.rating for one in snapshots),
        }
        if self._scores:
            found["league/win_rate"] = sum(self._scores) / len(self._scores)
        return found

    def record(self) -> tuple[dict[str, Any], list[Snapshot]]:
        """Return ratings and results as plain data, and the snapshots."""
        with self._lock:
            snapshots = list(self.store.snapshots)
            return {
                "rating": self.rating,
                "matches": self.matches,
                "draws": self._draws,
                "frames": self.frames,
                "snapshots": [
                    {
                        "frames": one.frames,
                        "rating": one.rating,
                        "wins": one.wins,
                        "draws": one.draws,
                        "losses": one.losses,
                    }
                    for one in snapshots
                ],
            }, snapshots

    def resume(
        self, record: dict[str, Any], snapshots: list[Snapshot], frames: int
    ) -> None:
        """Continue from what `record` returned.

        Args:
            record: Ratings and results.
            snapshots: The snapshots; those after `frames` are left out.
            frames: Frames of the checkpoint that training resumes from.
        """
        self.rating = record["rating"]
        self.matches, self._draws = record["matches"], record["draws"]
        self.frames = frames
        for snapshot in snapshots:
            if snapshot.frames <= frames:
                self.store.add(snapshot)

    def _batches(
        self, policy: Actor, rows: slice
    ) -> Iterator[tuple[Actor, np.ndarray]]:
        """Yield who acts, and for which rows of a group."""
        yield policy, np.flatnonzero(self.seats.owner[rows] != DRAWN)
        yield from self.opponents(rows)

    def _drawn(self) -> Snapshot:
        # Each draw has its own generator, so a resumed run does not repeat the first.
        seed, stream = self._seed
        rng = np.random.default_rng([seed, self._draws, stream])
        self._draws += 1
        past = [one for rival in self.rivals for one in rival.store.snapshots]
        return draw(past, rng, self.rating)

    def _rate(self, match: int, frags: np.ndarray) -> None:
        opponent = self._opponents[match]
        assert opponent is not None
        rows = slice(match * self._agents, (match + 1) * self._agents)
        learns = self.seats.learns[rows]
        # Of each seat that learns against each of the opponent's.
        score = float(
            (1 + np.sign(frags[learns][:, None] - frags[~learns][None])).mean() / 2
        )
        with self._lock:
            self.rating, opponent.rating = ratings.updated(
                self.rating, opponent.rating, score
            )
            opponent.wins += score < 0.5
            opponent.draws += score == 0.5
            opponent.losses += score > 0.5
            self.matches += 1
            self._scores.append(score)
