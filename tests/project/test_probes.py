"""PPO solves the probes, each of which fails if one thing is wrong."""

import dataclasses

import numpy as np
import probes
import pytest


SLOW = pytest.mark.slow
NO_CORE = dataclasses.replace(probes.NETWORK, core="none")


def test_one_step_learns_action_and_value():
    result = probes.train(probes.OneStep(), 30, network_config=NO_CORE)
    assert result.reward > 0.95
    np.testing.assert_allclose(result.value, 1.0, atol=0.1)


def test_two_actions_reads_the_image():
    result = probes.train(probes.TwoActions(), 40, network_config=NO_CORE)
    assert result.reward > 0.9


def test_delayed_reward_reaches_the_first_step():
    result = probes.train(probes.DelayedReward(), 60)
    # One reward in four steps.
    assert result.reward > 0.9 / 4


@pytest.mark.parametrize("core", ["gru", pytest.param("lstm", marks=SLOW)])
def test_memory_is_solved_with_a_core(core):
    config = dataclasses.replace(probes.NETWORK, core=core)
    result = probes.train(probes.Memory(), 120, network_config=config)
    assert result.reward > 0.8 / 4


def test_memory_is_not_solved_without_a_core():
    result = probes.train(probes.Memory(), 120, network_config=NO_CORE, last=50)
    # By chance the reward is 0, of at most 1/4.
    assert abs(result.reward) < 0.08


def test_truncation_bootstraps():
    # The values of a few rollouts swing by 0.6.
    result = probes.train(probes.Truncation(), 160, last=50)
    # 1 / (1 - 0.9)
    np.testing.assert_allclose(result.value, 10.0, atol=0.5)


def test_truncation_is_the_end_when_told_so():
    ppo = dataclasses.replace(probes.PPO, bootstrap_truncated=False)
    result = probes.train(probes.Truncation(), 40, ppo)
    # The recurrent core tells the three steps apart: 1 + 0.9 + 0.81 = 2.71,
    # 1.9 and 1; their mean is 1.87.
    np.testing.assert_allclose(result.value, 1.87, atol=0.15)
