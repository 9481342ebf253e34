"""Who is replaced by whom, and within which bounds settings mutate."""

import numpy as np
import pytest

from jaxfactory.config.agents.population import PopulationConfig
from jaxfactory.population.selection import Change, is_due, mutated, select


NAMES = ("learning_rate", "ent_coef")


def options(policies=4, **changes):
    return PopulationConfig(num_policies=policies, pbt=True, **changes)


def values(count=4):
    return [{"learning_rate": 10.0**-i, "ent_coef": 0.1, "gamma": 0.9}
            for i in range(1, count + 1)]  # fmt: skip


def rng(seed=0):
    return np.random.default_rng(seed)


def test_ranking_replaces_the_worst_and_mutates_the_middle():
    """Of ten policies, 0.3 x 10 are the best and as many the worst."""
    scores = [5.0, 9.0, 1.0, 8.0, 4.0, 2.0, 7.0, 3.0, 6.0, 5.5]
    rule = options(10, pbt_mutation_probability=1.0)
    changes = select(rule, scores, values(10), NAMES, rng())
    # The best are 1, 3, 6; the worst 2, 5, 7. Policy 0 is in the middle, but is kept.
    assert [change.policy for change in changes] == [2, 4, 5, 7, 8, 9]
    parents = {change.policy: change.parent for change in changes}
    assert [parents[i] for i in (4, 8, 9)] == [None] * 3
    assert {parents[i] for i in (2, 5, 7)} <= {1, 3, 6}
    for change in changes:
        before = values(10)[change.policy if change.parent is None else change.parent]
        factor = change.values["learning_rate"] / before["learning_rate"]
        assert 1.1 <= max(factor, 1 / factor) <= 1.5
        assert change.values["gamma"] == 0.9
    # The same seed decides in the same way.
    assert select(rule, scores, values(10), NAMES, rng()) == changes


def test_policy_0_is_replaced_but_not_mutated():
    rule = options(pbt_mutation_probability=1.0, pbt_fraction=0.25)
    changes = select(rule, [1.0, 2.0, 3.0, 4.0], values(), NAMES, rng())
    assert changes[0] == Change(0, 3, values()[3])
    assert [change.policy for change in changes] == [0, 1, 2]
    assert changes[1].values["ent_coef"] != 0.1


@pytest.mark.parametrize(("worse", "replaced"), [(8.9, True), (9.1, False)])
def test_a_small_gap_replaces_nothing(worse, replaced):
    """10 is to exceed the other by more than 0.1 x 10."""
    rule = options(2, pbt_mutation_probability=0.0)
    changes = select(rule, [10.0, worse], values(2), NAMES, rng())
    assert changes == ([Change(1, 0, values()[0])] if replaced else [])


def test_the_gap_is_of_negative_objectives_too():
    """-100 exceeds -120 by 20, more than 10; but -105 by 5 only."""
    rule = options(2, pbt_mutation_probability=0.0)
    assert select(rule, [-100.0, -120.0], values(2), NAMES, rng())
    assert not select(rule, [-100.0, -105.0], values(2), NAMES, rng())


def test_truncation_replaces_the_worst_and_nothing_else():
    rule = options(5, pbt_selection="truncation", pbt_fraction=0.2)
    scores = [1.0, 2.0, 3.0, 4.0, 4.5]
    (change,) = select(rule, scores, values(5), NAMES, rng())
    assert (change.policy, change.parent) == (0, 4)
    # Policy 0 is no exception, and each setting mutates.
    assert change.values["learning_rate"] != values(5)[4]["learning_rate"]
    assert change.values["ent_coef"] != 0.1
    # Equals are not replaced.
    assert not select(rule, [1.0] * 5, values(5), NAMES, rng())


def test_mutations_stay_within_range_and_bounds():
    rule = options(pbt_mutation_probability=1.0, pbt_mutation_range=(2.0, 4.0))
    first = {"learning_rate": 0.001, "gamma": 0.99, "clip_eps": 9.0, "ent_coef": 0.0,
             "reward_weight/HEALTH": 1.0}  # fmt: skip
    seen = [mutated(rule, first, list(first), rng(seed)) for seed in range(200)]
    rates = np.array([new["learning_rate"] for new in seen]) / 0.001
    factors = np.maximum(rates, 1 / rates)
    assert 2.0 <= factors.min() < 2.1
    assert 3.9 < factors.max() <= 4.0
    assert 0.35 < (rates > 1).mean() < 0.65
    horizons = (1 - np.array([new["gamma"] for new in seen])) / 0.01
    assert 0.25 <= horizons.min() < 0.3
    assert 3.5 < horizons.max() <= 4.0
    assert max(new["clip_eps"] for new in seen) == 10.0
    assert {new["ent_coef"] for new in seen} == {0.0}
    weights = [new["reward_weight/HEALTH"] for new in seen]
    assert 0.25 <= min(weights) < 0.5 < 2 < max(weights) <= 4


def test_mutation_probability():
    rule = options(pbt_mutation_probability=0.25)
    first = {"ent_coef": 1.0}
    seen = [mutated(rule, first, ["ent_coef"], rng(seed)) for seed in range(400)]
    assert 0.18 < np.mean([new != first for new in seen]) < 0.32
    assert options().mutation_probability == 0.15
    assert options(pbt_selection="truncation").mutation_probability == 1.0


def test_when_a_ranking_is_due():
    rule = options(pbt_period=100, pbt_warmup=250)
    ends = range(40, 560, 40)
    due = [end for end in ends if is_due(rule, end, end - 40)]
    # The first iteration past each multiple of 100, from 250 on.
    assert due == [320, 400, 520]
    assert not is_due(PopulationConfig(num_policies=4), 1_000_000, 0)
