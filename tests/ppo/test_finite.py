"""Gradient steps that are not finite are skipped, and the others stay as they are."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from updates import NETWORK, PPO, B, make_rollout, make_state, nonfinite_leaf

from jaxfactory.ppo import finite, learner, losses, minibatches, optimizer, targets
from jaxfactory.ppo.learner import make_update


TWICE = dataclasses.replace(PPO, num_minibatches=2, num_epochs=2)
NAN = np.float32(np.nan)


def arrays(state):
    return jax.tree.map(np.array, (state.params, state.opt_state, state.normalizer))


def with_reward(rollout, value, rows=slice(None)):
    reward = rollout.reward.copy()
    reward[1, rows] = value
    return rollout._replace(reward=reward)


def test_a_finite_step_is_the_one_without_the_check():
    state, rollout = make_state(), jax.tree.map(jnp.asarray, make_rollout())
    compute_targets = jax.jit(targets.make_compute_targets(PPO))
    got, normalizer, _ = compute_targets(state.normalizer, rollout, None)
    batch, rate = learner._as_batch(rollout, got), jnp.float32(1e-3)
    envs = jnp.arange(B)
    adam = optimizer.make_optimizer(PPO)

    @jax.jit
    def unchecked(params, opt_state, normalizer, batch, envs, rate):
        grads, metrics = jax.grad(losses.ppo_loss, has_aux=True)(
            params, minibatches.select(batch, envs), network=NETWORK,
            normalizer=normalizer, config=PPO,
        )  # fmt: skip
        new = optimizer.apply_gradients(adam, params, opt_state, grads, rate)
        # Which operations are compiled into one depends on all of the results.
        squares = [jnp.sum(leaf**2) for leaf in jax.tree.leaves(grads)]
        return new, metrics, jnp.sqrt(sum(squares))

    expected = unchecked(
        state.params, make_state().opt_state, normalizer, batch, envs, rate
    )[0]
    step = minibatches.make_minibatch_step(NETWORK, PPO)
    params, opt_state, metrics = step(
        state.params, state.opt_state, normalizer, batch, envs, rate
    )
    assert metrics[finite.FIRST] == 0
    jax.tree.map(np.testing.assert_array_equal, (params, opt_state), expected)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nothing_is_learned_from_an_update_that_is_not_finite(value):
    state = make_state(TWICE)
    before = arrays(state)
    update = make_update(NETWORK, TWICE)
    state, metrics = update(state, with_reward(make_rollout(), np.float32(value)))
    params, opt_state, normalizer = arrays(state)
    jax.tree.map(np.testing.assert_array_equal, (params, opt_state), before[:2])
    # Observations are finite and count: 1 + 4 * 6. The returns do not.
    assert normalizer.obs["image"].count == 25
    assert normalizer.returns.count == 1
    # 2 epochs of 2 minibatches.
    assert metrics[finite.SKIPPED] == 4
    assert finite.describe(metrics, finite.parts_of(state.params)) == "the rewards"
    assert state.step == 1
    # The next update is as if there had been none.
    state, metrics = update(state, make_rollout())
    assert metrics[finite.SKIPPED] == 0
    assert not nonfinite_leaf(state._replace(key=()))


def test_only_the_minibatches_that_are_not_finite_are_skipped():
    state = make_state(TWICE)
    before = arrays(state)
    rollout = with_reward(make_rollout(), NAN, rows=2)
    state, metrics = make_update(NETWORK, TWICE)(state, rollout)
    # One of the two of each epoch has environment 2.
    assert metrics[finite.SKIPPED] == 2
    assert not nonfinite_leaf(state.params)
    first, now = (jax.tree.leaves(tree)[0] for tree in (before[0], state.params))
    assert not np.array_equal(first, now)


def test_observations_that_are_not_finite():
    rollout = make_rollout()
    rollout.obs["measurements"][2, 3, 0] = np.nan
    state, metrics = make_update(NETWORK, TWICE)(make_state(TWICE), rollout)
    assert metrics[finite.SKIPPED] == 2
    assert not nonfinite_leaf((state.params, state.normalizer))
    assert state.normalizer.obs["measurements"].count == 1


def test_a_gradient_whose_norm_overflows():
    config = dataclasses.replace(
        PPO, normalize_returns=False, value_clip=0.0, vf_coef=1e9
    )
    state = make_state(config)
    before = arrays(state)
    # The loss is about 1e9 (1e12)^2 = 1e33. Its gradient is about 1e9 * 1e12 = 1e21,
    # and the square of that is above 3.4e38.
    rollout = with_reward(make_rollout(), np.float32(1e12))
    state, metrics = make_update(NETWORK, config)(state, rollout)
    assert np.isfinite(metrics["loss"])
    said = finite.describe(metrics, finite.parts_of(state.params))
    assert said.startswith("the gradient of ")
    jax.tree.map(np.testing.assert_array_equal, arrays(state)[:2], before[:2])


def test_the_first_part_is_named():
    params = {"a": jnp.ones(2), "b": {"c": jnp.zeros(3)}}
    parts = finite.parts_of(params)
    assert parts == [
        "the loss", "the gradient of a", "the gradient of b.c",
        "the new parameters a", "the new parameters b.c",
    ]  # fmt: skip
    good = [jnp.float32(1.0)] * 2

    def named(loss, squares, tree):
        return int(finite.first_nonfinite(jnp.float32(loss), squares, tree))

    bad = {"a": jnp.ones(2), "b": {"c": jnp.array([0.0, jnp.inf, 0.0])}}
    assert named(1.0, good, params) == 0
    assert named(np.nan, [good[0], jnp.float32(np.inf)], bad) == 1
    assert named(1.0, [good[0], jnp.float32(np.inf)], bad) == 3
    assert named(1.0, good, bad) == 5


def test_the_loss_s_terms_are_named():
    losses = {finite.SKIPPED: 1.0, finite.FIRST: 1, "reward_mean": 0.5}
    assert finite.describe(losses, ["the loss"]) == "the loss"
    losses |= {"policy_loss": np.nan, "value_loss": np.nan}
    assert finite.describe(losses, ["the loss"]) == "the policy loss"
    bonus = {finite.SKIPPED: 0.0, finite.FIRST: 0, f"bonus_{finite.SKIPPED}": 2.0}
    assert "bonus" in finite.describe(bonus, [])
    assert finite.describe(bonus | {f"bonus_{finite.SKIPPED}": 0.0}, []) == ""
