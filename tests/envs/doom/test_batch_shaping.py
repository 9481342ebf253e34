"""Shaping by a Python function, on made-up steps and in the pool."""

import re

import numpy as np
import pytest
from shaping_reference import step_of

from jaxfactory._util.errors import UserCodeError, UserError
from jaxfactory.config.env import EnvConfig
from jaxfactory.envs.doom.batch_shaping import BatchShaping
from jaxfactory.envs.doom.pool import EnvPool
from jaxfactory.scenarios.scenario_table import CFG_FOLDER, Scenario, find


def test_what_the_function_is_given_and_what_is_paid():
    calls = []

    def pay(previous, current, first, last):
        calls.append((previous["B"], current["B"], first, last))
        assert set(current) == {"A", "B"}
        return current["B"] - previous["B"]

    # Column 1 is somebody else's.
    shaping = BatchShaping(pay, {"A": 0, "B": 2}, scale=0.5, num_envs=2)
    told = [(7, 7), (8, 9), (6, 9), (5, 1)]
    ended = [(False, False), (False, True), (False, False), (False, False)]
    paid, returns = [], []
    for values, end in zip(told, ended):
        step = step_of(reward=[1.0, 2.0], ended=end)
        variables = np.array([[0.0, 99.0, value] for value in values])
        shaping.apply(step, variables, slice(None))
        paid.append(step.reward.tolist())
        returns.append(step.info.episode_shaped_return.tolist())
    # The first decision has nothing before it; neither has the one after an end.
    assert [call[0].tolist() for call in calls] == [[7, 7], [7, 7], [8, 9], [6, 9]]
    assert [call[2].tolist() for call in calls] == [
        [True, True], [False, False], [False, True], [False, False],
    ]  # fmt: skip
    assert [call[3].tolist() for call in calls] == [list(end) for end in ended]
    # Half of the changes, beside rewards of 1 and 2.
    assert paid == [[1, 2], [1.5, 3], [0, 2], [0.5, -2]]
    # Returns of 1 and 2, and what was paid so far in the episode.
    assert returns == [[1, 2], [1.5, 3], [0.5, 2], [0, -2]]


def test_groups_keep_their_own_values_and_a_replaced_engine_pays_nothing():
    def pay(previous, current, first, last):
        return current["A"] - previous["A"]

    shaping = BatchShaping(pay, {"A": 0}, scale=1.0, num_envs=4)
    one, other = slice(0, 2), slice(2, 4)
    for rows, value in ((one, 1.0), (other, 10.0), (one, 2.0)):
        step = step_of(reward=[0.0, 0.0], ended=[False, False])
        shaping.apply(step, np.full((2, 1), value), rows)
    assert step.reward.tolist() == [1, 1]
    step = step_of(reward=[0.0, 0.0], ended=[True, False], restarted=[True, False])
    shaping.apply(step, np.array([[0.0], [13.0]]), other)
    assert step.reward.tolist() == [0, 3]
    shaping.reset()
    step = step_of(reward=[0.0, 0.0], ended=[False, False])
    shaping.apply(step, np.full((2, 1), 50.0), other)
    assert step.reward.tolist() == [0, 0]


@pytest.mark.parametrize(
    ("paid", "says"),
    [
        (1.0, "lambda> returned float64[] for 2 environments; it must return one"),
        (np.zeros((2, 1)), "float64[2, 1]"),
        (np.zeros(3), "float64[3]"),
        (["a", "b"], "<U1[2]"),
        (np.array([0, np.nan]), "not finite"),
    ],
    ids=str,
)
def test_a_function_that_returns_something_else(paid, says):
    shaping = BatchShaping(lambda *_: paid, {"A": 0}, scale=1.0, num_envs=2)
    with pytest.raises(UserError, match=re.escape(says)):
        shaping.apply(
            step_of(reward=[0.0, 0.0], ended=[False, False]),
            np.zeros((2, 1)),
            slice(None),
        )


def test_a_function_that_raises():
    def broken(previous, current, first, last):
        return current["HELTH"]

    shaping = BatchShaping(broken, {"HEALTH": 0}, scale=1.0, num_envs=1)
    with pytest.raises(UserCodeError, match="broken raised KeyError: 'HELTH'"):
        shaping.apply(
            step_of(reward=[0.0], ended=[False]), np.zeros((1, 1)), slice(0, 1)
        )


def gathered(previous, current, first, last):
    """What the table's row for gathering pays."""
    return (current["HEALTH"] > previous["HEALTH"]) & ~last


@pytest.mark.vizdoom
@pytest.mark.parametrize("by_groups", [False, True])
def test_the_pool_pays_what_the_table_would(by_groups):
    table = find("health_gathering_supreme")
    own = Scenario(
        name="own",
        cfg=CFG_FOLDER / "health_gathering_supreme.cfg",
        heads="flat",
        shaping=gathered,
        measurements="none",
    )
    config = EnvConfig(num_envs=8, num_groups=2, timeout=700)
    seed, paid = 2, 0
    with (
        EnvPool(config, scenario=table, seed=seed) as one,
        # Reports something else than the function looks at.
        EnvPool(config, scenario=own, seed=seed, variables=["AMMO2"]) as other,
    ):
        rng = np.random.default_rng(0)
        one.reset(), other.reset()
        assert other.variable_names == ("AMMO2",)
        for _ in range(250):
            actions = rng.integers(1, 5, (8, 1)).astype(np.int32)
            wanted = one.step(actions)
            if by_groups:
                for group in (1, 0):
                    other.send(group, actions[other.rows(group)])
                found = [other.recv(group) for group in (0, 1)]
                pairs = [(step, other.rows(g)) for g, step in enumerate(found)]
            else:
                pairs = [(other.step(actions), slice(None))]
            for step, rows in pairs:
                np.testing.assert_allclose(step.reward, wanted.reward[rows], rtol=1e-6)
                np.testing.assert_allclose(
                    step.info.episode_shaped_return,
                    wanted.info.episode_shaped_return[rows],
                    rtol=1e-6,
                )
                assert step.info.game_variables.shape == (len(step.reward), 1)
            paid += (wanted.reward > 0.5).sum()
        assert paid > 0
        with pytest.raises(UserError, match="own is shaped by a Python function"):
            other.xla()
