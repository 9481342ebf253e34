"""One update, taken apart."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from updates import NETWORK, PPO, B, T, make_rollout, make_state, play

from jaxfactory.config.train import PPOConfig
from jaxfactory.models.normalization import RunningStats
from jaxfactory.ppo import learner, minibatches, optimizer, targets
from jaxfactory.ppo.learner import make_update
from jaxfactory.rollout.policy import make_act, make_value


def make_compute_targets(config):
    return jax.jit(targets.make_compute_targets(config))


def test_state_counts_updates_and_frames():
    update = make_update(NETWORK, PPO, frame_skip=4)
    state = make_state()
    first_key = jax.random.key_data(state.key)
    for _ in range(2):
        state, _ = update(state, make_rollout())
    assert state.step == 2
    # 2 updates of 4 steps of 6 environments, 4 frames each.
    assert state.frames == 2 * 4 * 6 * 4
    assert isinstance(state.frames, int)
    assert not np.array_equal(jax.random.key_data(state.key), first_key)


def test_frames_go_past_int32():
    update = make_update(NETWORK, PPO, frame_skip=4)
    state, _ = update(make_state()._replace(frames=2**31 - 1), make_rollout())
    assert state.frames == 2**31 - 1 + 96


def test_metrics_are_device_scalars():
    _, metrics = make_update(NETWORK, PPO)(make_state(), make_rollout())
    for name in ("loss", "policy_loss", "entropy", "grad_norm", "explained_variance"):
        assert isinstance(metrics[name], jax.Array), name
        assert metrics[name].shape == (), name
    assert all(np.isfinite(value) for value in metrics.values())


def test_prepare_matches_numpy():
    rollout = make_rollout()
    state = make_state()
    returns = RunningStats(jnp.float32(2.0), jnp.float32(9.0), jnp.float32(100.0))
    normalizer = state.normalizer._replace(returns=returns)
    got, stats, _ = make_compute_targets(PPO)(normalizer, rollout, None)

    # Standard deviation 3 (epsilon aside), mean 2.
    value, final = rollout.value * 3 + 2, rollout.final_value * 3 + 2
    after = np.concatenate([value[1:], rollout.bootstrap_value[None] * 3 + 2])
    after = np.where(rollout.truncated, final, after)
    after = np.where(rollout.terminated, 0, after)
    delta = rollout.reward + 0.99 * after - value
    advantage, tail = np.zeros((T, B)), np.zeros(B)
    for t in reversed(range(T)):
        done = rollout.terminated[t] | rollout.truncated[t]
        tail = delta[t] + 0.99 * 0.95 * np.where(done, 0, tail)
        advantage[t] = tail
    returns = advantage + value
    # Chan's merge of 100 and T * B = 24 samples.
    mean = (200 + returns.sum()) / 124
    second = (100 * (9 + 4) + (returns**2).sum()) / 124
    std = np.sqrt(second - mean**2)
    np.testing.assert_allclose(got.advantage, advantage, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(stats.returns.mean, mean, rtol=1e-4)
    np.testing.assert_allclose(got.target, (returns - mean) / std, rtol=1e-3, atol=1e-3)
    # Observation T is not counted: 1 + 4 * 6.
    assert stats.obs["image"].count == 25
    image = rollout.obs["image"][:-1].reshape(24, 8, 8, 1) / 255.0
    np.testing.assert_allclose(stats.obs["image"].mean, image.sum(0) / 25, rtol=1e-5)


def test_normalization_can_be_off():
    config = dataclasses.replace(PPO, normalize_obs=False, normalize_returns=False)
    rollout = make_rollout()
    rollout = rollout._replace(reward=rollout.reward + 100)
    state, _ = make_update(NETWORK, config)(make_state(config), rollout)
    assert state.normalizer.returns.count == 1
    assert state.normalizer.obs["image"].count == 1
    compute_targets = make_compute_targets(config)
    got, _, _ = compute_targets(make_state().normalizer, rollout, None)
    # Not clipped to 5 either.
    assert got.target.min() > 50


def test_truncation_can_be_the_end():
    config = dataclasses.replace(PPO, bootstrap_truncated=False)
    rollout, state = make_rollout(), make_state()
    off, _, _ = make_compute_targets(config)(state.normalizer, rollout, None)
    as_end = rollout._replace(
        terminated=rollout.terminated | rollout.truncated,
        truncated=np.zeros((T, B), bool),
    )
    on, _, _ = make_compute_targets(PPO)(state.normalizer, as_end, None)
    np.testing.assert_array_equal(off.advantage, on.advantage)
    assert rollout.truncated.any()


def test_minibatches_cover_every_environment_once():
    parts = minibatches.split_minibatches(
        jax.random.key(0), B, num_epochs=2, num_minibatches=3
    )
    assert [len(part) for part in parts] == [2] * 6
    epochs = parts[:3], parts[3:]
    for epoch in epochs:
        assert sorted(np.concatenate(epoch)) == list(range(B))
    assert not np.array_equal(np.concatenate(epochs[0]), np.concatenate(epochs[1]))


def test_selection_keeps_whole_chunks():
    rollout, state = make_rollout(), make_state()
    carry = jnp.arange(B, dtype=jnp.float32)[:, None] * jnp.ones((1, 8))
    rollout = jax.tree.map(jnp.asarray, rollout._replace(carry=carry))
    got, _, _ = make_compute_targets(PPO)(state.normalizer, rollout, None)
    batch = learner._as_batch(rollout, got)
    picked = minibatches.select(batch, jnp.array([4, 1]))
    np.testing.assert_array_equal(
        picked.obs["image"], rollout.obs["image"][:T, np.array([4, 1])]
    )
    np.testing.assert_array_equal(picked.carry[:, 0], [4.0, 1.0])
    np.testing.assert_array_equal(picked.value[:, 0], rollout.value[:, 4])
    assert picked.is_first.shape == (T, 2)


def test_a_single_minibatch_is_a_selection_of_all():
    """The step without a gather equals the step with one."""
    state, rollout = make_state(), jax.tree.map(jnp.asarray, make_rollout())
    compute_targets = make_compute_targets(PPO)
    got, normalizer, _ = compute_targets(state.normalizer, rollout, None)
    batch = learner._as_batch(rollout, got)
    step = minibatches.make_minibatch_step(NETWORK, PPO)

    def stepped(envs):
        opt_state, learning_rate = make_state().opt_state, np.float32(1e-3)
        return step(state.params, opt_state, normalizer, batch, envs, learning_rate)[0]

    whole, picked = stepped(None), stepped(jnp.arange(B))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5), whole, picked
    )


def test_the_same_seed_gives_the_same_parameters():
    config = dataclasses.replace(PPO, num_minibatches=2, num_epochs=2)
    update = make_update(NETWORK, config)
    results = [update(make_state(config), make_rollout())[0] for _ in range(2)]
    jax.tree.map(np.testing.assert_array_equal, results[0].params, results[1].params)


def test_the_old_parameters_stay_usable():
    state = make_state()
    before = jax.tree.map(np.array, state.params)
    make_update(NETWORK, PPO)(state, make_rollout())
    jax.tree.map(np.testing.assert_array_equal, state.params, before)


def test_uneven_minibatches_are_a_sentence():
    config = dataclasses.replace(PPO, num_minibatches=4)
    with pytest.raises(ValueError, match="6 environments cannot be split into 4"):
        make_update(NETWORK, config)(make_state(config), make_rollout())


def test_acting_agrees_with_learning():
    """The ratio of the first minibatch is 1: act and unroll compute the same."""
    state = make_state()
    rollout, carry = play(state, make_rollout())
    # The rollout moves the statistics of observations; the loss uses the old ones.
    after, metrics = make_update(NETWORK, PPO)(state, rollout)
    assert after.normalizer.obs["image"].count > state.normalizer.obs["image"].count
    np.testing.assert_allclose(metrics["ratio_max"], 1.0, atol=1e-4)
    np.testing.assert_allclose(metrics["approx_kl"], 0.0, atol=1e-6)
    assert metrics["clip_fraction"] == 0

    last = jax.tree.map(lambda x: x[T - 1], rollout.obs)
    never = np.zeros(B, bool)
    got = make_value(NETWORK)(state.params, state.normalizer, last, carry, never)
    assert got.shape == (B,)


def test_adam_takes_its_decay_rates_from_the_settings():
    config = dataclasses.replace(PPO, adam_betas=(0.5, 0.75), max_grad_norm=0.0)
    adam = optimizer.make_optimizer(config)
    state = adam.init(jnp.zeros(()))
    for gradient in (1.0, 3.0):
        # optax raises a float to an integer power, which strict promotion forbids.
        with jax.numpy_dtype_promotion("standard"):
            _, state = adam.update(jnp.float32(gradient), state)
    moments = state[1]
    np.testing.assert_allclose(moments.mu, 0.5 * 0.5 * 1 + 0.5 * 3)
    np.testing.assert_allclose(moments.nu, 0.75 * 0.25 * 1 + 0.25 * 9)


def test_the_last_epoch_is_also_reported_by_itself():
    config = dataclasses.replace(PPO, num_epochs=3, learning_rate=1e-2)
    state = make_state(config)
    rollout, _ = play(state, make_rollout())
    _, metrics = make_update(NETWORK, config)(state, rollout)
    # The first epoch starts at 0, and the policy moves on with each.
    assert 0 < metrics["approx_kl"] < metrics["approx_kl_last_epoch"]
    assert metrics["clip_fraction"] < metrics["clip_fraction_last_epoch"]


def test_vtrace_without_lag_evaluates_nothing_again(monkeypatch):
    def refuse(network, devices):
        def reevaluate(*arguments):
            raise AssertionError("a forward pass for nothing")

        return reevaluate

    monkeypatch.setattr(learner, "make_reevaluate", refuse)
    config = dataclasses.replace(PPO, advantages="vtrace")
    state = make_state()
    rollout, _ = play(state, make_rollout())
    _, metrics = make_update(NETWORK, config)(state, rollout)
    assert np.isfinite(metrics["loss"])


def older_policy(state):
    """Return a state whose policy differs from the given one's by a bias."""
    params = jax.tree.map(jnp.copy, state.params)
    params["policy"]["bias"] = jnp.array([0.0, 0.7, 0.0, -0.4, 0.0])
    return state._replace(params=params)


def test_the_clip_holds_on_to_the_policy_that_the_update_began_with():
    state = make_state()
    rollout, _ = play(older_policy(state), make_rollout())
    clipped = dataclasses.replace(PPO, objective="clipped")
    _, metrics = make_update(NETWORK, clipped, off_policy=True)(state, rollout)
    assert metrics["clip_fraction"] > 0.5
    update = make_update(NETWORK, PPO, off_policy=True)
    _, metrics = update(make_state(), rollout)
    assert metrics["clip_fraction"] == 0
    np.testing.assert_allclose(metrics["ratio_max"], 1.0, atol=1e-4)


def test_older_actions_are_weighed():
    """The weights are the two policies' ratio, cut off at 2."""
    state = make_state()
    rollout, _ = play(older_policy(state), make_rollout())
    now, _ = play(state, rollout)
    proximal = targets.make_reevaluate(NETWORK)(
        state.params, state.normalizer, rollout, 2
    )
    compute_targets = make_compute_targets(PPO)
    got, _, _ = compute_targets(state.normalizer, rollout, proximal)
    ratio = np.exp(np.asarray(proximal) - rollout.log_prob)
    assert ratio.max() > 1.2
    assert ratio.min() < 0.9
    np.testing.assert_allclose(got.weight, np.minimum(ratio, 2.0), rtol=1e-5)
    np.testing.assert_array_equal(got.log_prob, proximal)
    # Where the same action comes of both policies, what acting says of it is the same.
    same = (now.action == rollout.action).all(-1)
    assert same.any()
    np.testing.assert_allclose(proximal[same], now.log_prob[same], rtol=1e-4)


def test_an_unlikely_action_counts_twice_at_most():
    state = make_state()
    rollout, _ = play(state, make_rollout())
    proximal = rollout.log_prob + np.float32(3.0)
    compute_targets = make_compute_targets(PPO)
    got, _, _ = compute_targets(state.normalizer, rollout, proximal)
    np.testing.assert_array_equal(got.weight, np.full((T, B), 2.0))


def test_parameters_are_published_between_the_steps():
    config = dataclasses.replace(PPO, num_minibatches=2, num_epochs=2)
    published = []

    def publish(params, normalizer, progress):
        published.append((progress, jax.tree.leaves(params)[0], normalizer))

    update = make_update(NETWORK, config, off_policy=True)
    state, _ = update(make_state(config), make_rollout(), publish)
    assert [progress for progress, _, _ in published] == [0.25, 0.5, 0.75]
    made = [leaf for _, leaf, _ in published] + [jax.tree.leaves(state.params)[0]]
    for earlier, later in itertools.pairwise(made):
        assert not np.array_equal(earlier, later)
    assert all(normalizer is state.normalizer for _, _, normalizer in published)


def test_without_lag_the_modes_learn_the_same():
    state = make_state()
    rollout, _ = play(state, make_rollout())
    _, sync = make_update(NETWORK, PPO)(state, rollout)
    update = make_update(NETWORK, PPO, off_policy=True)
    _, unsynced = update(make_state(), rollout)
    assert sync.keys() == unsynced.keys()
    for name, value in sync.items():
        np.testing.assert_allclose(unsynced[name], value, rtol=1e-3, atol=1e-6)


def test_deterministic_act_takes_the_mode():
    state = make_state()
    params = jax.tree.map(jnp.zeros_like, state.params)
    params["policy"]["bias"] = jnp.array([0.0, 9.0, 0.0, 9.0, 0.0])
    act = make_act(NETWORK, deterministic=True)
    obs = jax.tree.map(lambda x: x[0], make_rollout().obs)
    carry, first = NETWORK.initial_carry(B), np.ones(B, bool)
    action, *_ = act(params, state.normalizer, obs, carry, first, jax.random.key(0))
    np.testing.assert_array_equal(action, np.tile([1, 0], (B, 1)))


def test_the_learning_rate_is_held_and_then_lowered():
    config = PPOConfig(learning_rate=1e-3, lr_schedule="decay")
    # Halfway through the second half: halfway from 1e-3 to a tenth of it.
    expected = {0.0: 1e-3, 0.5: 1e-3, 0.75: 0.55e-3, 1.0: 1e-4, 1.2: 1e-4}
    for progress, size in expected.items():
        np.testing.assert_allclose(optimizer.learning_rate_at(config, progress), size)
    constant = dataclasses.replace(config, lr_schedule="constant")
    assert optimizer.learning_rate_at(constant, 0.9) == 1e-3
