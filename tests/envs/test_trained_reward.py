"""Reward scale and clip: what is trained on changes, what is reported does not."""

import jax
import numpy as np
import pytest
from gymnasium_tasks import COUNTER
from shaping_reference import step_of

from jaxfactory._util.errors import UserError
from jaxfactory.config.train import EnvConfig
from jaxfactory.envs.doom.batch_shaping import BatchShaping
from jaxfactory.envs.doom.pool import EnvPool
from jaxfactory.envs.pool import make_pool
from jaxfactory.envs.trained_reward import TrainedReward
from jaxfactory.scenarios.scenario_table import CFG_FOLDER, Scenario


def test_scaled_first_and_clipped_then():
    reward = np.array([-3.0, -0.5, 0.0, 0.5, 3.0])
    # Times 2: -6, -1, 0, 1, 6; then at most 1.5.
    assert TrainedReward(2.0, 1.5)(reward).tolist() == [-1.5, -1, 0, 1, 1.5]
    assert TrainedReward(2.0)(reward).tolist() == [-6, -1, 0, 1, 6]
    assert TrainedReward()(reward) is reward


def test_an_environment_of_gymnasium():
    options = {"num_envs": 2, "reward_scale": 0.5, "reward_clip": 4.0}
    with make_pool(COUNTER, **options) as pool:
        pool.reset()
        # 1, 2, 3, and 10 more for an action of 1: 11, 12, 13.
        for wanted in ([0.5, 4], [1, 4], [1.5, 4]):
            step = pool.step(np.array([[0], [1]], np.int32))
            assert step.reward.tolist() == wanted
        assert step.info.raw_reward.tolist() == [3, 13]
        assert step.info.episode_shaped_return.tolist() == [6, 36]
        assert step.info.episode_raw_return.tolist() == [6, 36]


def test_a_function_pays_before_its_rewards_are_scaled():
    shaping = BatchShaping(
        lambda *_: np.array([4.0, -8.0]),
        {"A": 0},
        scale=0.5,
        num_envs=2,
        trained=TrainedReward(2.0, 6.5),
    )
    for total in ([3, -2], [5, -6]):
        step = step_of(reward=[1.0, 2.0], ended=[False, False])
        shaping.apply(step, np.zeros((2, 1)), slice(None))
        # 1 + 4/2 = 3 and 2 - 8/2 = -2, doubled; nothing is above 6.5.
        assert step.reward.tolist() == [6, -4]
        # The made-up step's returns are 1 and 2; 2 and -4 come with each step.
        assert step.info.episode_shaped_return.tolist() == total
    shaping = BatchShaping(
        lambda *_: np.array([4.0, -8.0]),
        {"A": 0},
        scale=0.5,
        num_envs=2,
        trained=TrainedReward(2.0, 5.0),
    )
    step = step_of(reward=[1.0, 2.0], ended=[False, False])
    shaping.apply(step, np.zeros((2, 1)), slice(None))
    assert step.reward.tolist() == [5, -4]


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.vizdoom
def test_a_scenario_of_dooms(compiled):
    # A decision of 4 tics costs 4, a shot that misses 5 more, and the scenario has a
    # scale of 0.01: -0.04 and -0.09. Times 10, at most 0.5: -0.4 and -0.5.
    options = {"num_envs": 2, "reward_scale": 10.0, "reward_clip": 0.5, "seed": 3}
    rng = np.random.default_rng(0)
    with make_pool("basic", **options) as pool:
        actions = rng.integers(0, 4, (30, 2, 1)).astype(np.int32)
        if compiled:
            token, reset, act = pool.xla()
            token, _ = reset(token)
            _, steps = jax.jit(lambda t, a: jax.lax.scan(act, t, a))(token, actions)
            steps = jax.tree.map(np.asarray, steps)
            steps = [jax.tree.map(lambda x, i=i: x[i], steps) for i in range(30)]
        else:
            pool.reset()
            steps = [jax.tree.map(np.array, pool.step(action)) for action in actions]
    seen, total = set(), np.zeros(2)
    for step in steps:
        own = step.info.raw_reward.astype(np.float64)
        total += own * 0.01
        np.testing.assert_allclose(
            step.reward, np.clip(own * 0.1, -0.5, 0.5), rtol=1e-6
        )
        np.testing.assert_allclose(step.info.episode_shaped_return, total, rtol=1e-5)
        total[step.terminated | step.truncated] = 0
        seen |= {round(float(reward), 4) for reward in step.reward}
    assert seen >= {-0.4, -0.5}


@pytest.mark.vizdoom
def test_a_scenario_of_dooms_that_a_function_shapes():
    own = Scenario(
        name="own",
        cfg=CFG_FOLDER / "basic.cfg",
        heads="flat",
        shaping=lambda previous, current, first, last: np.full(len(first), 3.0),
        reward_scale=0.5,
        measurements="none",
    )
    config = EnvConfig(num_envs=2, num_groups=1, reward_scale=4.0, reward_clip=3.0)
    with EnvPool(config, scenario=own, seed=3) as pool:
        pool.reset()
        # The file's reward for 4 tics is -4: (-4 + 3) / 2 = -0.5, times 4.
        step = pool.step(np.zeros((2, 1), np.int32))
        assert step.info.raw_reward.tolist() == [-4, -4]
        assert step.reward.tolist() == [-2, -2]
        assert step.info.episode_shaped_return.tolist() == [-0.5, -0.5]
        # A shot costs 5 more: (-9 + 3) / 2 = -3, times 4 is -12, at most 3.
        attack = 3
        for _ in range(10):
            step = pool.step(np.full((2, 1), attack, np.int32))
            if (step.info.raw_reward == -9).all():
                assert step.reward.tolist() == [-3, -3]
                break
        else:
            raise AssertionError("no shot missed")


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("reward_scale", 0.0, "--reward-scale 0.0 must be greater than 0"),
        ("reward_scale", float("inf"), "--reward-scale inf"),
        ("reward_scale", float("nan"), "--reward-scale nan"),
        ("reward_clip", -1.0, "--reward-clip -1.0 must be between 0"),
        ("reward_clip", float("nan"), "--reward-clip nan"),
    ],
)
def test_what_cannot_work(name, value, says):
    with pytest.raises(UserError, match=says):
        EnvConfig(**{name: value})
