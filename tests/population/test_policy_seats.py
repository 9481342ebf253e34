"""Each policy has as many rows; in matches all policies meet."""

import itertools
from collections import Counter

import numpy as np
import pytest

from jaxfactory._util.errors import UserError
from jaxfactory.population.seats import groups_for, policy_seats


@pytest.mark.parametrize(
    ("num_envs", "num_groups", "policies", "groups"),
    [(64, 2, 4, 4), (64, 2, 2, 2), (64, 4, 2, 4), (60, 2, 3, 3), (12, 5, 3, 6),
     (12, 8, 4, 4)],
)  # fmt: skip
def test_groups_belong_to_one_policy_outside_of_matches(
    num_envs, num_groups, policies, groups
):
    assert groups_for(num_envs, num_groups, 1, policies) == groups
    seats = policy_seats(num_envs, groups, 1, policies)
    assert seats.learns.all()
    by_group = seats.owner.reshape(groups, -1)
    assert (by_group == by_group[:, :1]).all()
    assert (np.bincount(seats.owner) == num_envs // policies).all()


@pytest.mark.parametrize("policies", [2, 3, 4, 5, 6])
def test_all_policies_meet_in_duels(policies):
    """As often as each other, and in the first seat as often as in the second."""
    rounds = policies if policies % 2 else policies - 1
    num_envs = 2 * policies * (policies - 1)
    groups = groups_for(num_envs, 2, 2, policies)
    seats = policy_seats(num_envs, 1, 2, policies)
    matches = Counter(
        tuple(sorted(pair)) for pair in seats.owner.reshape(-1, 2).tolist()
    )
    assert groups in (1, 2)
    assert rounds > 0
    assert set(matches) == set(itertools.combinations(range(policies), 2))
    assert set(matches.values()) == {2}
    assert (np.bincount(seats.owner) == num_envs // policies).all()


@pytest.mark.parametrize(("agents", "policies"), [(2, 4), (2, 3), (4, 3), (8, 4)])
def test_each_group_has_every_policy_equally_often(agents, policies):
    num_envs = 2 * agents * policies
    groups = groups_for(num_envs, 2, agents, policies)
    seats = policy_seats(num_envs, groups, agents, policies)
    for owner in seats.owner.reshape(groups, -1):
        assert len(set(np.bincount(owner, minlength=policies))) == 1


@pytest.mark.parametrize(
    ("num_envs", "num_groups", "agents", "policies", "share", "past"),
    # Of each group's 8 matches, 4 or all 8; of 4, 2; of 8 with four agents, 4. Unless
    # all are asked for, not all are given.
    [(32, 2, 2, 4, 0.5, 8), (32, 2, 2, 4, 1.0, 16), (16, 2, 2, 2, 0.01, 4),
     (64, 2, 4, 4, 0.5, 8), (6, 2, 2, 3, 1.0, 3), (16, 2, 2, 4, 0.5, 4),
     (64, 2, 2, 4, 0.95, 24), (8, 2, 2, 2, 0.9, 2)],
)  # fmt: skip
def test_each_policy_plays_as_often_against_the_past(
    num_envs, num_groups, agents, policies, share, past
):
    groups = groups_for(num_envs, num_groups, agents, policies, share)
    seats = policy_seats(num_envs, groups, agents, policies, share)
    assert (seats.learns == (seats.owner >= 0)).all()
    for owner in seats.owner.reshape(groups, -1):
        assert len(set(np.bincount(owner[owner >= 0], minlength=policies))) == 1
    matches = seats.owner.reshape(-1, agents)
    drawn = matches[(matches < 0).any(1)]
    assert len(drawn) == past
    assert ((drawn < 0).sum(1) == agents // 2).all()
    # One policy has the other seats, and all have as many such matches.
    assert all(len(set(match)) == 2 for match in drawn.tolist())
    assert len(set(np.bincount(drawn.max(1), minlength=policies))) == 1


def test_the_past_needs_a_match_of_each_policy():
    assert groups_for(12, 1, 2, 4) == 1
    with pytest.raises(UserError, match=r"must be a multiple of 8: try 16"):
        groups_for(12, 1, 2, 4, 0.5)
    # Two groups would have a single match for each policy.
    assert groups_for(16, 2, 2, 4, 0.5) == 1
    assert groups_for(16, 2, 2, 4, 1.0) == 2
    with pytest.raises(UserError, match=r"is one match for each p.*try 16, or --self"):
        groups_for(8, 1, 2, 4, 0.5)
    with pytest.raises(UserError, match=r"--self-play-share 0\.5 needs a match of"):
        groups_for(12, 1, 1, 4, 0.5)


def test_seats_that_do_not_divide_are_refused():
    with pytest.raises(UserError, match=r"must be a multiple of 6: try 12"):
        groups_for(10, 2, 2, 3)
