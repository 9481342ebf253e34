"""Rare returns: the clip and the memory of their statistics, the advantage floor."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from updates import NETWORK, PPO, B, T, make_rollout, make_state, play

from jaxfactory._util.errors import UserError
from jaxfactory.config.train import PPOConfig
from jaxfactory.models import normalization
from jaxfactory.models.normalization import RunningStats
from jaxfactory.ppo import losses, targets
from jaxfactory.ppo.learner import make_update


# One return of 1 in 1,000, all others 0: mean 0.001, variance 0.001 * 0.999.
SPARSE = RunningStats(jnp.float32(0.001), jnp.float32(0.000999), jnp.float32(1e9))


def computed(rollout, stats=SPARSE, frame_skip=1, **changes):
    config = dataclasses.replace(PPO, **changes)
    normalizer = make_state().normalizer._replace(returns=stats)
    compute_targets = targets.make_compute_targets(config, frame_skip)
    return jax.jit(compute_targets)(normalizer, rollout, None)


def one_reward():
    """Return a rollout whose episodes all end at once, one of them with reward 1."""
    reward = np.zeros((T, B), np.float32)
    reward[1, 2] = 1.0
    zeros = np.zeros((T, B), np.float32)
    return make_rollout()._replace(
        reward=reward,
        terminated=np.ones((T, B), bool),
        truncated=np.zeros((T, B), bool),
        # Values of 0 in the reward's units.
        value=np.full((T, B), -0.001 / math.sqrt(0.001009), np.float32),
        final_value=zeros,
        bootstrap_value=zeros[0],
    )


def learned(config_target):
    """Return what a value function that predicts the target stands for."""
    return normalization.denormalize(jnp.asarray(config_target), SPARSE, math.inf)


def test_a_sparse_return_is_clipped_by_default():
    got, *_ = computed(one_reward())
    np.testing.assert_allclose(got.target[1, 2], 5.0)
    # 0.001 + 5 * sqrt(0.000999 + 0.00001)
    np.testing.assert_allclose(learned(got.target)[1, 2], 0.1598, rtol=1e-3)


def test_without_the_clip_it_is_learned_as_it_is():
    got, *_ = computed(one_reward(), return_clip=0.0)
    # (1 - 0.001) / sqrt(0.001009)
    np.testing.assert_allclose(got.target[1, 2], 31.45, rtol=1e-3)
    np.testing.assert_allclose(learned(got.target), one_reward().reward, atol=1e-4)


def test_another_clip():
    got, *_ = computed(one_reward(), return_clip=10.0)
    np.testing.assert_allclose(got.target[1, 2], 10.0)


@pytest.mark.parametrize("field", ["value", "final_value", "bootstrap_value"])
def test_predictions_are_clipped_as_well(field):
    """A prediction of 1 for an observation, 31 standard deviations, is one of 0.16."""
    rollout = one_reward()
    high = np.full_like(getattr(rollout, field), 31.45)
    rollout = rollout._replace(
        reward=np.zeros((T, B), np.float32),
        terminated=np.zeros((T, B), bool),
        truncated=np.full((T, B), field == "final_value"),
        **{field: high},
    )
    deltas = {}
    for clip in (5.0, 0.0):
        got, *_ = computed(rollout, return_clip=clip, gae_lambda=0.0)
        # delta[T-1] = 0.99 * next value - value, one of which is high.
        deltas[clip] = np.asarray(got.advantage)[-1, 0]
    sign = -1.0 if field == "value" else 0.99
    np.testing.assert_allclose(deltas[0.0], sign * 1.0, rtol=0.02)
    np.testing.assert_allclose(deltas[5.0], sign * 0.1598, rtol=0.02)


def test_a_network_learns_a_sparse_return_as_1():
    """Many updates on the same rollout, with and without the clip."""
    found = {}
    for clip in (5.0, 0.0):
        config = dataclasses.replace(
            PPO, return_clip=clip, learning_rate=3e-2, value_clip=0.0, num_epochs=4,
            vf_coef=1.0, ent_coef=0.0, max_grad_norm=0.0, lr_schedule="constant",
        )  # fmt: skip
        state, update = make_state(config), make_update(NETWORK, config)
        normalizer = state.normalizer._replace(returns=SPARSE)
        state = state._replace(normalizer=normalizer)
        # Every step has the return 1, which the statistics rarely saw.
        rollout = one_reward()._replace(reward=np.ones((T, B), np.float32))
        for _ in range(40):
            state, _ = update(state, rollout)
        value = play(state, rollout)[0].value
        found[clip] = float(np.mean(learned(value)))
    np.testing.assert_allclose(found[5.0], 0.16, atol=0.03)
    np.testing.assert_allclose(found[0.0], 1.0, atol=0.15)


def test_statistics_forget_exponentially():
    # 24 samples of 4 frames each are 96 frames.
    stats = RunningStats(jnp.float32(2.0), jnp.float32(9.0), jnp.float32(100.0))
    _, after, _ = computed(one_reward(), stats, 4, return_memory=96)
    # 100 samples count as 100 / e = 36.79, and 24 are new.
    np.testing.assert_allclose(after.returns.count, 100 / math.e + 24, rtol=1e-5)
    _, fast, _ = computed(one_reward(), stats, 1, return_memory=24)
    np.testing.assert_allclose(fast.returns, after.returns, rtol=1e-5)


def test_statistics_without_a_memory_keep_everything():
    stats = RunningStats(jnp.float32(2.0), jnp.float32(9.0), jnp.float32(100.0))
    _, after, _ = computed(one_reward(), stats)
    assert after.returns.count == 124


def test_forgetting_does_not_depend_on_the_size_of_rollouts():
    stats = RunningStats(jnp.float32(2.0), jnp.float32(9.0), jnp.float32(100.0))
    twice = normalization.forget(normalization.forget(stats, 10, 50.0), 10, 50.0)
    once = normalization.forget(stats, 20, 50.0)
    np.testing.assert_allclose(once, twice, rtol=1e-6)


def test_the_divisor_of_advantages_has_a_floor():
    advantage = jnp.array([[0.02, -0.02]])
    # Standard deviation 0.02: below a floor of 0.1, above one of 0.01.
    np.testing.assert_allclose(
        losses.normalize_advantage(advantage, 0.1), [[0.2, -0.2]], rtol=1e-5
    )
    np.testing.assert_allclose(
        losses.normalize_advantage(advantage, 0.01), [[1.0, -1.0]], rtol=1e-5
    )


def test_the_floor_is_a_multiple_of_the_returns_deviation():
    stats = RunningStats(jnp.float32(2.0), jnp.float32(9.0), jnp.float32(100.0))
    normalizer = make_state().normalizer._replace(returns=stats)
    config = dataclasses.replace(PPO, advantage_floor=0.1)
    # A tenth of 3.
    got = losses.advantage_floor(config, normalizer)
    np.testing.assert_allclose(got, 0.3, rtol=1e-6)
    assert losses.advantage_floor(PPO, normalizer) == 1e-7


def test_noise_moves_the_policy_less_with_a_floor():
    """The loss of the policy shrinks as much as the advantages do."""
    stats = RunningStats(jnp.float32(0.0), jnp.float32(100.0), jnp.float32(1e9))
    found = []
    for floor in (0.0, 1.0):
        config = dataclasses.replace(
            PPO, advantage_floor=floor, ent_coef=0.0, vf_coef=0.0, gamma=0.0,
            max_grad_norm=0.0,
        )  # fmt: skip
        state = make_state(config)
        normalizer = state.normalizer._replace(returns=stats)
        state = state._replace(normalizer=normalizer)
        rollout, _ = play(state, make_rollout())
        rollout = rollout._replace(value=np.zeros((T, B), np.float32))
        _, metrics = make_update(NETWORK, config)(state, rollout)
        found.append(metrics)
    # Without a floor the divisor is the standard deviation; with it, 1.0 x 10.
    share = found[0]["advantage_std"] / 10.0
    assert share < 0.2
    shares = found[1]["grad_norm"] / found[0]["grad_norm"]
    np.testing.assert_allclose(shares, share, rtol=1e-2)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"return_clip": -1.0}, "--return-clip -1.0 must be between 0 and"),
        ({"return_memory": -1}, "--return-memory -1 must be between 0 and"),
        ({"advantage_floor": -1.0}, "--advantage-floor -1.0 must be between 0 and"),
        (
            {"advantage_floor": 0.1, "normalize_returns": False},
            "--advantage-floor 0.1 needs the statistics of returns; leave out "
            "--no-normalize-returns",
        ),
    ],
)
def test_wrong_values_are_refused(changes, sentence):
    with pytest.raises(UserError) as caught:
        PPOConfig(**changes)
    assert sentence in str(caught.value)
