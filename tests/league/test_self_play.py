"""Past versions as opponents: the store, the draw, acting, and ratings."""

from types import SimpleNamespace

import numpy as np
import pytest
from updates import SPEC

from jaxfactory.league.seats import self_play_seats
from jaxfactory.league.self_play import SelfPlay
from jaxfactory.league.snapshots import Snapshot, SnapshotStore, draw, weights
from jaxfactory.models.normalization import init_normalizer
from jaxfactory.population.seats import policy_seats


NORMALIZER = init_normalizer(SPEC.observation)


def policy(number):
    """A policy that always takes one action."""
    return SimpleNamespace(params=number, normalizer=NORMALIZER)


def act(params, normalizer, obs, carry, is_first, key, count):
    """Take the policy's number as the action; add it to the carry."""
    size = len(is_first)
    action = np.full((size, 1), params, np.int32)
    calls.append((params, size, int(count)))
    value = np.asarray(obs["image"], np.float32)
    return action, np.zeros(size, np.float32), value, carry + params


calls = []


def make(share=0.5, every=100, kept=4, num_envs=8):
    seats = self_play_seats(num_envs, 1, 2, share)
    calls.clear()
    return SelfPlay(seats, agents=2, every=every, kept=kept, seed=0)


def step(frags, ended=True, restarted=False):
    size = len(frags)
    return SimpleNamespace(
        terminated=np.zeros(size, bool),
        truncated=np.full(size, ended),
        info=SimpleNamespace(
            frags=np.array(frags, np.int32), restarted=np.full(size, restarted)
        ),
    )


def added(kept, frames):
    store = SnapshotStore(kept)
    for number in frames:
        store.add(Snapshot(number, None, NORMALIZER))
    return [snapshot.frames for snapshot in store.snapshots]


def test_the_store_is_bounded_and_old_snapshots_become_sparse():
    assert added(4, range(0, 400, 100)) == [0, 100, 200, 300]
    # Ages 300, 200, 100: gaps of 200 each in relation to them.
    assert added(4, range(0, 500, 100)) == [0, 200, 300, 400]
    # 300 / 300 and 200 / 200: the older one of two equals.
    assert added(4, range(0, 600, 100)) == [0, 300, 400, 500]
    assert added(4, range(0, 700, 100)) == [0, 300, 500, 600]
    kept = added(8, range(0, 100_000, 100))
    assert len(kept) == 8
    assert kept[0] == 0
    assert kept[-1] == 99_900
    gaps = np.diff(kept)
    assert gaps[0] > 5 * gaps[-1]


def test_a_store_of_one_or_two():
    assert added(1, (0, 100, 200)) == [200]
    assert added(2, (0, 100, 200)) == [0, 200]


def test_strong_snapshots_are_drawn_more_often():
    snapshots = [
        Snapshot(int(rating), None, NORMALIZER, rating)
        for rating in (1000.0, 1400.0, 100.0)
    ]
    # Expected scores 1/2 and 10/11, and the least of 0.05, of 1.459091.
    expected = [0.342679, 0.623053, 0.034268]
    np.testing.assert_allclose(weights(snapshots, 1000.0), expected, atol=1e-5)
    rng = np.random.default_rng(0)
    drawn = [draw(snapshots, rng, 1000.0).frames for _ in range(2000)]
    assert drawn.count(1400) / 2000 == pytest.approx(0.623, abs=0.04)


def test_each_row_acts_with_its_owners_policy():
    self_play = make()
    self_play.begin_rollout(policy(1))
    obs = {"image": np.arange(8)}
    carry = np.arange(8.0)
    acted = self_play.act(
        act, policy(5), slice(0, 8), obs, carry, np.zeros(8, bool), None, (3, 64)
    )
    # Seats 0 and 3 belong to the snapshot, whose parameters were 1.
    assert acted.action[:, 0].tolist() == [1, 5, 5, 1, 5, 5, 5, 5]
    assert acted.value.tolist() == list(range(8))
    assert (acted.carry - carry).tolist() == [1, 5, 5, 1, 5, 5, 5, 5]
    # No two calls have the same random numbers.
    assert calls == [(5, 6, 3), (1, 2, 67)]


def test_snapshots_are_taken_every_so_many_frames():
    self_play = make(every=100)
    for number in range(10):
        self_play.begin_rollout(policy(number))
        self_play.end_rollout(8)  # 6 rows learn: 48 frames
    assert self_play.frames == 480
    frames = [snapshot.frames for snapshot in self_play.store.snapshots]
    # At 0, 144, 240, 336 and 432; four of them are kept.
    assert frames == [0, 240, 336, 432]
    assert [snapshot.params for snapshot in self_play.store.snapshots] == [0, 5, 7, 9]


def test_matches_rate_both_and_draw_the_next_opponent():
    self_play = make()
    self_play.begin_rollout(policy(1))
    snapshot = self_play.store.snapshots[0]
    # The learner, in seats 1 and 2, wins the first match and draws the second.
    self_play.receive(step([1, 3, 2, 2, 0, 9, 0, 9]), 0)
    assert self_play.matches == 2
    assert (snapshot.wins, snapshot.draws, snapshot.losses) == (0, 1, 1)
    # 8 points for the win; then a draw that is expected to be 0.523: -0.37.
    assert self_play.rating == pytest.approx(1007.632, abs=1e-3)
    assert snapshot.rating == pytest.approx(992.368, abs=1e-3)
    found = self_play.metrics()
    assert found["league/win_rate"] == 0.75
    assert found["league/matches"] == 2
    assert found["league/snapshots"] == 1
    # Neither a step within a match nor a failed engine is a result.
    self_play.receive(step([5, 0, 0, 5, 0, 0, 0, 0], ended=False), 0)
    self_play.receive(step([5, 0, 0, 5, 0, 0, 0, 0], restarted=True), 0)
    assert self_play.matches == 2


def test_opponents_change_only_between_matches():
    self_play = make(share=1.0, every=48, kept=50, num_envs=4)
    for number in range(12):
        self_play.begin_rollout(policy(number))
        self_play.end_rollout(24)
        if number == 0:
            first = dict(self_play._opponents)
    # No match has ended: both have the opponent that they began with.
    assert self_play._opponents == first
    self_play.receive(step([0, 0, 0, 0]), 0)
    drawn = {self_play._opponents[match].params for match in (0, 1)}
    assert drawn <= set(range(12))
    seen = set()
    for _ in range(40):
        self_play.receive(step([0, 0, 0, 0]), 0)
        seen |= {self_play._opponents[match].params for match in (0, 1)}
    assert len(seen) > 6


def test_a_record_resumes_without_later_snapshots():
    self_play = make(every=48)
    for number in range(3):
        self_play.begin_rollout(policy(number))
        self_play.receive(step([1, 3, 2, 2, 0, 9, 0, 9]), 0)
        self_play.end_rollout(8)
    record, snapshots = self_play.record()
    assert [row["frames"] for row in record["snapshots"]] == [0, 48, 96]
    again = make(every=48)
    again.resume(record, snapshots, 60)
    assert [snapshot.frames for snapshot in again.store.snapshots] == [0, 48]
    assert again.rating == self_play.rating
    assert again.matches == 6
    assert again.frames == 60


def rivals_of_two():
    """Rows -1, 0, 1, -1, 0, 1, 1, 0: each policy has a match against the past."""
    seats = policy_seats(8, 1, 2, 2, 0.5)
    both = [
        SelfPlay(seats, agents=2, every=48, kept=4, seed=0, policy=i, stream=i)
        for i in (0, 1)
    ]
    for number, one in enumerate(both):
        one.rivals = both
        one.maybe_keep(policy(10 + number))
    for number, one in enumerate(both):
        one.begin_rollout(policy(20 + number))
    return both


def test_policies_meet_past_versions_of_all_policies():
    both = rivals_of_two()
    seen = [set(), set()]
    for _ in range(40):
        for number, one in enumerate(both):
            ((snapshot, rows),) = one.opponents(slice(0, 8))
            # The opponent's seat of its own match.
            assert rows.tolist() == [3 * number]
            seen[number].add(snapshot.params)
            one.receive(step([1, 1] * 4), 0)
    assert seen == [{10, 11}, {10, 11}]
    assert [one.matches for one in both] == [40, 40]
    # The second group's rows.
    assert list(both[0].opponents(slice(4, 8))) == []


def test_each_policy_counts_its_own_frames_and_keeps_its_own_past():
    both = rivals_of_two()
    for one in both:
        one.end_rollout(16)  # Of 3 rows.
        one.begin_rollout(policy(30))
    assert [one.frames for one in both] == [48, 48]
    assert [[past.params for past in one.store.snapshots] for one in both] == [
        [10, 30],
        [11, 30],
    ]
    assert [row["frames"] for row in both[1].record()[0]["snapshots"]] == [0, 48]


def test_the_first_draws_of_policies_differ():
    first, second = rivals_of_two()
    drawn = [[first._drawn().params for _ in range(20)], []]
    drawn[1] = [second._drawn().params for _ in range(20)]
    assert drawn[0] != drawn[1]


def test_a_copy_has_the_rating_of_its_parent():
    first, second = rivals_of_two()
    first.receive(step([0, 5] * 4), 0)
    second.receive(step([0, 5] * 4), 0)
    assert first.rating > 1000 > second.rating
    assert "league/win_rate" in second.metrics()
    second.become(first.rating)
    # Its results were those of other parameters, and so is that of its match.
    for matches in (1, 2):
        second.receive(step([5, 0] * 4), 0)
        assert second.matches == matches
        assert (second.rating == first.rating) == (matches == 1)
        assert ("league/win_rate" in second.metrics()) == (matches == 2)
