"""Segments of a rollout: shorter gradients, refreshed carries, drawing by priority."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import tiny_config
from updates import NETWORK, PPO, B, T, make_rollout, make_state, play

from jaxfactory._util.errors import UserError
from jaxfactory.config.train import PPOConfig
from jaxfactory.ppo import segments
from jaxfactory.ppo.learner import make_update
from jaxfactory.ppo.losses import ppo_loss, value_loss
from jaxfactory.types import Batch


# Two segments of two steps of six environments.
HALF = dataclasses.replace(PPO, bptt=2)


def make_batch(rollout, carry):
    rng = np.random.default_rng(7)
    advantage, target = rng.normal(size=(2, T, B)).astype(np.float32)
    batch = Batch(
        obs=rollout.obs, is_first=rollout.is_first, action=rollout.action,
        log_prob=rollout.log_prob, value=rollout.value,
        weight=np.ones((T, B), np.float32), advantage=advantage, target=target,
        carry=carry,
    )  # fmt: skip
    return jax.tree.map(jnp.asarray, batch)


def carries(state, rollout):
    """The carry at the start of both segments, from `play` of the first half."""
    half = jax.tree.map(lambda x: x, rollout)
    obs = jax.tree.map(lambda x: x[:2], half.obs)
    obs = NETWORK.normalize(obs, state.normalizer.obs)
    first = jnp.asarray(half.is_first[:2])
    carry = NETWORK.unroll(state.params, obs, first, half.carry)[2]
    return jax.tree.map(lambda x: np.asarray(x)[None], carry)


def test_probabilities_and_weights_by_hand():
    advantage = jnp.array([[1.0, 0.0], [-1.0, 0.0], [2.0, 0.0], [-2.0, 0.0]])
    # Segments (steps 0-1, 2-3) of two environments: 2, 0, 4, 0; 0 is never quite 0.
    got = segments.probabilities(advantage, 2, 1.0)
    np.testing.assert_allclose(got, [1 / 3, 0, 2 / 3, 0], atol=1e-6)
    assert got.min() > 0
    # Squares: 4 and 16.
    got = segments.probabilities(advantage, 2, 2.0)
    np.testing.assert_allclose(got, [0.2, 0, 0.8, 0], atol=1e-6)
    nothing = segments.probabilities(jnp.zeros((4, 2)), 2, 1.0)
    np.testing.assert_allclose(nothing, [0.25] * 4)
    # (4 / 8)^-1 = 2; (4 / 2)^-1 = 0.5; half of the exponent: their roots.
    p = jnp.array([0.125, 0.5, 0.25, 0.125])
    np.testing.assert_allclose(segments.sampling_weights(p, 1.0), [2, 0.5, 1, 2])
    np.testing.assert_allclose(segments.sampling_weights(p, 0.0), [1, 1, 1, 1])
    np.testing.assert_allclose(
        segments.sampling_weights(p, 0.5), [2**0.5, 0.5**0.5, 1, 2**0.5], rtol=1e-6
    )


def test_probabilities_match_plain_numpy():
    advantage = np.random.default_rng(0).normal(size=(12, 5)).astype(np.float32)
    expected = np.zeros(3 * 5)
    for segment in range(3):
        for env in range(5):
            part = advantage[segment * 4 : segment * 4 + 4, env]
            expected[segment * 5 + env] = np.abs(part).sum() ** 0.7
    expected /= expected.sum()
    got = segments.probabilities(jnp.asarray(advantage), 3, 0.7)
    np.testing.assert_allclose(got, expected, rtol=1e-4)
    # With beta 1, the expected weighted mean is the mean over all.
    values = np.random.default_rng(1).normal(size=15)
    weight = np.asarray(segments.sampling_weights(got, 1.0))
    np.testing.assert_allclose((got * weight * values).sum(), values.mean(), rtol=1e-3)


def test_draws_follow_the_probabilities():
    p = jnp.array([0.1, 0.6, 0.3, 0.0])
    rows = segments.draw(jax.random.key(0), p, 4, 5000)
    assert [part.shape for part in rows] == [(5000,)] * 4
    counts = np.bincount(np.concatenate(rows), minlength=4) / 20_000
    # Standard errors are below 0.0035.
    np.testing.assert_allclose(counts, p, atol=0.015)
    assert not np.array_equal(rows[0], rows[1])


def test_a_segment_is_a_part_of_its_environment():
    rollout = make_rollout()
    carry = jax.tree.map(
        lambda x: np.arange(2 * B, dtype=np.float32)[:, None].repeat(x.shape[1], 1)
        .reshape(2, B, -1), rollout.carry,
    )  # fmt: skip
    batch = make_batch(rollout, carry)
    # Rows: segment 0 of environment 3, segment 1 of 5 and of 0.
    got = segments.select_segments(batch, jnp.array([3, 11, 6], jnp.int32), 2)
    for column, (start, env) in enumerate([(0, 3), (2, 5), (2, 0)]):
        part = slice(start, start + 2)
        for name in ("image", "measurements"):
            np.testing.assert_array_equal(
                got.obs[name][:, column], rollout.obs[name][part, env]
            )
        for name in ("is_first", "action", "advantage", "target"):
            np.testing.assert_array_equal(
                getattr(got, name)[:, column], getattr(batch, name)[part, env]
            )
    first = jax.tree.leaves(got.carry)[0]
    np.testing.assert_array_equal(first[:, 0], [3, 11, 6])


def test_gradients_do_not_cross_the_start_of_a_segment():
    state = make_state(HALF)
    # One episode throughout: the carry goes on from the first segment to the second.
    once = make_rollout()
    once = once._replace(is_first=np.arange(T + 1)[:, None].repeat(B, 1) == 0)
    rollout, _ = play(state, once)
    whole = jax.tree.map(lambda x: np.asarray(x)[None], rollout.carry)
    both = jax.tree.map(lambda *x: np.concatenate(x), whole, carries(state, rollout))
    batch = make_batch(rollout, both)
    rows = jnp.arange(2 * B, dtype=jnp.int32)
    options = {"network": NETWORK, "normalizer": state.normalizer, "config": HALF}

    def loss(params, batch):
        return ppo_loss(params, batch, **options)[0]

    gradient = jax.jit(jax.value_and_grad(loss))
    _, got = gradient(state.params, segments.select_segments(batch, rows, 2))
    # Slowly: each half as a rollout of its own, side by side.
    halves = []
    for index in range(2):
        part = slice(2 * index, 2 * index + 2)
        cut = jax.tree.map(lambda x, p=part: x[p], batch._replace(carry=()))
        halves.append(cut)
    joined = jax.tree.map(lambda *x: jnp.concatenate(x, 1), *halves)
    flat = jax.tree.map(lambda x: jnp.asarray(x).reshape(2 * B, -1), both)
    halves_loss, expected = gradient(state.params, joined._replace(carry=flat))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), got, expected
    )
    # The whole rollout at once has the same loss and another gradient.
    long = batch._replace(
        carry=jnp.asarray(rollout.carry),
        obs=jax.tree.map(lambda x: x[:T], batch.obs), is_first=batch.is_first[:T],
    )  # fmt: skip
    long_loss, crossing = gradient(state.params, long)
    assert long_loss == pytest.approx(float(halves_loss), abs=1e-5)
    crossing = crossing["core"]["recurrent_kernel"]
    assert np.abs(crossing - got["core"]["recurrent_kernel"]).max() > 1e-5


def test_refreshed_carries_are_those_of_the_newest_parameters():
    config = dataclasses.replace(HALF, refresh_carry=True)
    refresh = segments.make_refresh(NETWORK, config)
    state = make_state(HALF)
    rollout, _ = play(state, make_rollout())
    stale = jax.tree.map(lambda x: np.zeros((2, *x.shape), x.dtype), rollout.carry)
    batch = make_batch(rollout, stale)
    for params in (state.params, jax.tree.map(lambda x: 1.5 * x, state.params)):
        other = state._replace(params=params)
        got = refresh(params, state.normalizer, batch, 3)
        expected = carries(other, rollout)
        np.testing.assert_array_equal(jax.tree.leaves(got)[0][0], rollout.carry)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a[1], b[0], atol=1e-5),
            got, expected,
        )  # fmt: skip


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"bptt": 2}, marks=pytest.mark.slow),
        {"bptt": 2, "refresh_carry": True, "prioritized_alpha": 0.8},
        {"prioritized_alpha": 1.0, "schedule": ("prioritized_beta=linear:1",),
         "prioritized_beta": 0.4},
    ],
    ids=["bptt", "refreshed-prioritized", "annealed"],
)  # fmt: skip
def test_an_update_in_segments(changes):
    config = dataclasses.replace(PPO, num_minibatches=2, num_epochs=2, **changes)
    state = make_state(config)
    rollout, _ = play(state, make_rollout())
    if config.bptt:
        rollout = rollout._replace(segment_carry=carries(state, rollout))
    update = make_update(NETWORK, config, total_frames=2 * T * B)
    results = []
    for _ in range(2):
        start = make_state(config)
        learned, metrics = update(start, rollout)
        assert all(np.isfinite(value) for value in metrics.values())
        results.append(learned.params)
    jax.tree.map(np.testing.assert_array_equal, *results)
    assert int(learned.step) == 1
    if config.prioritized_alpha:
        assert 0 < metrics["prioritized_share"] < 1
    if config.schedule:
        assert metrics["prioritized_beta"] == pytest.approx(0.4)
        metrics = update(learned._replace(frames=T * B), rollout)[1]
        # Halfway from 0.4 to 1.
        assert metrics["prioritized_beta"] == pytest.approx(0.7)


def test_the_ratio_is_one_before_the_first_step_of_every_segment():
    config = dataclasses.replace(HALF, num_minibatches=1, num_epochs=1)
    state = make_state(config)
    rollout, _ = play(state, make_rollout())
    rollout = rollout._replace(segment_carry=carries(state, rollout))
    _, metrics = make_update(NETWORK, config)(state, rollout)
    assert metrics["ratio_max"] == pytest.approx(1.0, abs=1e-4)


def test_weights_multiply_squared_errors():
    value, target = jnp.array([[1.0, 2.0]]), jnp.zeros((1, 2))
    # (3 * 1 + 0.5 * 4) / 2
    got = value_loss(value, value, target, 0.0, jnp.array([[3.0, 0.5]]))
    assert got == pytest.approx(2.5)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: PPOConfig(bptt=5), "--bptt 5 must divide --num-steps 32"),
        (lambda: PPOConfig(bptt=64), "raise --num-steps and lower --num-envs"),
        (lambda: PPOConfig(bptt=-1), "--bptt -1 must be between 0"),
        (
            lambda: PPOConfig(refresh_carry=True, bptt=32),
            "--refresh-carry does nothing for whole rollouts",
        ),
        (
            lambda: tiny_config(
                ppo={"bptt": 4, "refresh_carry": True, "num_epochs": 1}
            ),
            "--refresh-carry does nothing with --num-epochs 1 and --mode sync",
        ),
        (
            lambda: PPOConfig(prioritized_beta=0.5),
            "prioritized_beta does nothing without --prioritized-alpha",
        ),
        (
            lambda: PPOConfig(prioritized_alpha=-1.0),
            "--prioritized-alpha -1.0 must be between 0 and 10",
        ),
    ],
)
def test_a_bad_setting_is_one_sentence(make, words):
    with pytest.raises(UserError) as error:
        make()
    assert words in str(error.value)
    assert "\n" not in str(error.value)
