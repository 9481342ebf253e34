"""Seats: who acts where; rows that do not learn reach nothing of the update."""

import jax
import numpy as np
import pytest
from updates import NETWORK, PPO, B, T, make_rollout, make_state

from jaxfactory._util.errors import UserError
from jaxfactory.config.network import BonusConfig
from jaxfactory.league.seats import (
    DRAWN,
    Seats,
    padded,
    past_owners,
    scatter,
    self_play_seats,
)
from jaxfactory.ppo.bonus.exploration import Exploration
from jaxfactory.ppo.learner import init_train_state, make_update


# The second seat of the first match, and the first of the second, do not learn.
SEATS = Seats(
    np.array([0, DRAWN, DRAWN, 0, 0, 0]),
    np.array([True, False, False, True, True, True]),
)
LEARNING = [0, 3, 4, 5]


def test_half_of_the_matches_have_an_opponent_in_either_seat_by_turns():
    seats = self_play_seats(16, 2, 2, 0.5)
    # Four matches of two in each group, the first two against past versions.
    assert seats.owner.tolist() == [-1, 0, 0, -1, 0, 0, 0, 0] * 2
    assert (seats.learns == (seats.owner == 0)).all()
    assert seats.learning_rows().tolist() == [1, 2, 4, 5, 6, 7, 9, 10, 12, 13, 14, 15]
    assert seats.rows(DRAWN).tolist() == [0, 3, 8, 11]


@pytest.mark.parametrize(
    ("share", "num_envs", "agents", "drawn"),
    # Of 8 matches in two groups; of 2 matches of 8 agents, half of the seats.
    [(0.01, 16, 2, 2), (0.3, 16, 2, 2), (0.8, 16, 2, 6), (1.0, 16, 2, 8),
     (1.0, 16, 8, 8), (0.5, 16, 4, 4)],
)  # fmt: skip
def test_the_share_is_rounded_to_whole_matches(share, num_envs, agents, drawn):
    seats = self_play_seats(num_envs, 2, agents, share)
    assert len(seats.rows(DRAWN)) == drawn
    assert len(seats.learning_rows()) == num_envs - drawn


def test_policies_take_turns_against_the_past():
    owner = past_owners(0, 5, 2, 2).reshape(-1, 2)
    assert owner.tolist() == [[-1, 0], [1, -1], [0, -1], [-1, 1], [-1, 0]]
    # Of four seats, two are the policy's; after three matches it is the first's turn.
    owner = past_owners(3, 2, 4, 3).reshape(-1, 4)
    assert owner.tolist() == [[0, -1, 0, -1], [-1, 1, -1, 1]]


def test_a_single_agent_has_no_opponents():
    with pytest.raises(UserError, match=r"--self-play-share 0\.5 needs a match of"):
        self_play_seats(8, 2, 1, 0.5)


def test_rows_of_several_policies_are_told_apart():
    seats = Seats(np.array([0, 1, 1, 0, 2]), np.array([True, True, False, True, True]))
    assert seats.rows(1).tolist() == [1, 2]
    assert seats.learning_rows(1).tolist() == [1]
    assert seats.learning_rows().tolist() == [0, 1, 3, 4]
    rollout = make_rollout()
    six = Seats(np.array([0, 1, 1, 0, 2, 2]), np.ones(6, bool))
    np.testing.assert_array_equal(
        six.learning(rollout, 1).reward, rollout.reward[:, [1, 2]]
    )


def test_batches_are_padded_to_powers_of_two_and_scattered():
    assert [len(padded(np.arange(n))) for n in (1, 2, 3, 5, 8)] == [1, 2, 4, 8, 8]
    assert padded(np.array([3, 5, 9])).tolist() == [3, 5, 9, 3]
    parts = [(np.array([2, 0]), np.array([7, 8])), (np.array([1]), np.array([9, 0]))]
    assert scatter(parts, 3).tolist() == [8, 9, 7]


def garbled(rollout, field):
    """Change a field of the rows that do not learn beyond recognition."""
    rows = ~SEATS.learns

    def one(leaf, axis):
        changed = np.array(leaf)
        at = (slice(None),) * axis + (rows,)
        if changed.dtype == bool:
            changed[at] ^= True
        elif changed.dtype == np.uint8:
            changed[at] = 255 - changed[at]
        elif changed.dtype == np.int32:
            changed[at] = 1 - changed[at]
        else:
            changed[at] = np.nan
        return changed

    axis = 0 if field in ("carry", "bootstrap_value") else 1
    value = jax.tree.map(lambda leaf: one(leaf, axis), getattr(rollout, field))
    return rollout._replace(**{field: value})


@pytest.fixture(scope="module")
def update():
    return make_update(NETWORK, PPO)


@pytest.mark.parametrize(
    ("metric", "field"),
    [
        ("policy_loss", "action"),
        ("policy_loss", "log_prob"),
        ("policy_loss", "reward"),
        ("value_loss", "value"),
        ("value_loss", "reward"),
        ("value_loss", "terminated"),
        ("value_loss", "final_value"),
        ("value_loss", "bootstrap_value"),
        ("exploration_loss", "obs"),
        ("exploration_loss", "carry"),
        ("entropy", "obs"),
    ],
)
def test_rows_that_do_not_learn_add_nothing_to_a_loss(update, metric, field):
    rollout = make_rollout()
    if field == "final_value":
        truncated = rollout.truncated.copy()
        truncated[1] = True
        rollout = rollout._replace(truncated=truncated, terminated=truncated & False)
    other = garbled(rollout, field)
    state, metrics = update(make_state(), SEATS.learning(rollout))
    again, changed = update(make_state(), SEATS.learning(other))
    assert np.isfinite(float(metrics[metric]))
    assert float(metrics[metric]) == float(changed[metric])
    same = jax.tree.map(np.array_equal, state.params, again.params)
    assert jax.tree.all(same)
    # With those rows, it would have been another.
    _, without_seats = update(make_state(), other)
    assert float(without_seats[metric]) != float(metrics[metric])


def test_rows_that_do_not_learn_add_nothing_to_the_statistics(update):
    rollout = make_rollout()
    other = garbled(garbled(rollout, "obs"), "reward")
    state, _ = update(make_state(), SEATS.learning(other))
    # T steps of 4 rows, and the first count of 1.
    assert float(state.normalizer.obs["image"].count) == 4 * T + 1
    assert float(state.normalizer.returns.count) == 4 * T + 1
    seen = rollout.obs["measurements"][:-1, LEARNING].reshape(-1, 2)
    expected = seen.sum(0) / (4 * T + 1)
    np.testing.assert_allclose(
        state.normalizer.obs["measurements"].mean, expected, rtol=1e-5
    )
    assert np.isfinite(float(state.normalizer.returns.mean))
    assert state.frames == 4 * T


def test_rows_that_do_not_learn_add_nothing_to_the_bonuses():
    bonus = Exploration(NETWORK, PPO, BonusConfig(bonus="rnd"), len(LEARNING))
    update = make_update(NETWORK, PPO, bonus=bonus)
    rollout = make_rollout()
    found = []
    for one in (rollout, garbled(garbled(rollout, "obs"), "action")):
        state = init_train_state(NETWORK, PPO, jax.random.key(0), bonus)
        state, metrics = update(state, SEATS.learning(one))
        found.append((state.bonus.params, state.bonus.stats, metrics["rnd_loss"]))
    assert jax.tree.all(jax.tree.map(np.array_equal, *found))


def test_a_rollout_keeps_the_rows_that_learn_as_copies():
    rollout = make_rollout()
    kept = SEATS.learning(rollout)
    assert kept.reward.shape == (T, 4)
    assert kept.obs["image"].shape == (T + 1, 4, 8, 8, 1)
    assert jax.tree.leaves(kept.carry)[0].shape[0] == 4
    np.testing.assert_array_equal(kept.action, rollout.action[:, LEARNING])
    assert not np.shares_memory(kept.obs["image"], rollout.obs["image"])
    assert rollout.reward.shape == (T, B)
