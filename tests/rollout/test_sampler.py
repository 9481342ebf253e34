"""Rollouts from the real pool: alignment in time, recurrent state, reuse of slabs."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import tiny_config

from jaxfactory.envs.pool import make_pool
from jaxfactory.models.actor_critic import ActorCritic
from jaxfactory.models.normalization import normalize_obs
from jaxfactory.ppo.learner import init_train_state
from jaxfactory.rollout.collector import RolloutCollector
from jaxfactory.rollout.sampler import SyncSampler


pytestmark = pytest.mark.vizdoom

# Short episodes, so that every rollout sees time-outs.
CONFIG = tiny_config(env={"timeout": 30}, ppo={"num_steps": 10}, seed=5)


# Without measurements and with them.
@pytest.fixture(
    scope="module", params=["basic", pytest.param("deathmatch", marks=pytest.mark.slow)]
)
def env(request):
    return dataclasses.replace(CONFIG.env, scenario=request.param)


@pytest.fixture(scope="module")
def played(env):
    """Three rollouts in a row, copied, with what made them."""
    with make_pool(env, seed=5, num_steps=10) as pool:
        network = ActorCritic(pool.spec, CONFIG.network)
        state = init_train_state(network, CONFIG.ppo, jax.random.key(0))
        rollouts, untouched = [], []
        collector = RolloutCollector(
            pool, network, num_steps=10, seed=CONFIG.seed, segment_steps=4
        )
        with SyncSampler(collector) as sampler:
            before = None
            for number in range(3):
                rollout = sampler.collect(state._replace(step=state.step + number))
                copied = jax.tree.map(np.array, rollout)
                if before is not None:
                    untouched.append(_same(*before))
                before = (rollout, copied)
                rollouts.append(copied)
    return network, state, rollouts, untouched


def _same(one, other) -> bool:
    leaves = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return all(np.array_equal(a, b) for a, b in leaves)


def test_a_rollout_stays_while_the_next_one_is_played(played):
    # On the CPU JAX may read it in place (https://github.com/jax-ml/jax/issues/37830).
    assert played[3] == [True, True]


def test_rollouts_are_what_the_pool_answers_to_their_actions(env, played):
    rollouts = played[2]
    with make_pool(env, seed=5, num_steps=7) as pool:
        parts = ["image"] if env.scenario == "basic" else ["image", "measurements"]
        step = pool.reset()
        for rollout in rollouts:
            for t in range(10):
                assert sorted(rollout.obs) == parts
                for name in parts:
                    seen = step.observation[name]
                    np.testing.assert_array_equal(rollout.obs[name][t], seen)
                np.testing.assert_array_equal(rollout.is_first[t], step.is_first)
                step = pool.step(rollout.action[t])
                for name in ("reward", "terminated", "truncated"):
                    np.testing.assert_array_equal(
                        getattr(rollout, name)[t], getattr(step, name), name
                    )
            np.testing.assert_array_equal(rollout.obs["image"][10], step.obs)
    assert sum(r.truncated.sum() for r in rollouts) >= 4


def test_the_stored_carry_reproduces_what_acted(played):
    network, state, rollouts, _ = played
    for rollout in rollouts:
        inputs = normalize_obs(rollout.obs, state.normalizer.obs)
        logits, value, _ = network.unroll(
            state.params, inputs, jnp.asarray(rollout.is_first), rollout.carry
        )
        action = jnp.asarray(rollout.action)
        log_prob = network.distribution.log_prob(logits[:10], action)
        np.testing.assert_allclose(log_prob, rollout.log_prob, atol=1e-4)
        np.testing.assert_allclose(value[:10], rollout.value, atol=1e-4)
        np.testing.assert_allclose(value[10], rollout.bootstrap_value, atol=1e-4)


def test_each_segment_has_the_carry_it_began_with(played):
    network, state, rollouts, _ = played
    for rollout in rollouts:
        assert jax.tree.leaves(rollout.segment_carry)[0].shape[:2] == (2, 4)
        for index, steps in enumerate((4, 8)):
            inputs = normalize_obs(rollout.obs, state.normalizer.obs)
            inputs = jax.tree.map(lambda x, n=steps: x[:n], inputs)
            first = jnp.asarray(rollout.is_first[:steps])
            carry = network.unroll(state.params, inputs, first, rollout.carry)[2]
            stored = jax.tree.map(lambda x, i=index: x[i], rollout.segment_carry)
            jax.tree.map(
                lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), carry, stored
            )


def test_final_values_are_there_where_episodes_were_cut(played):
    for rollout in played[2]:
        np.testing.assert_array_equal(rollout.final_value != 0, rollout.truncated)


def test_transitions_carry_the_version_that_acted(played):
    for number, rollout in enumerate(played[2]):
        np.testing.assert_array_equal(
            rollout.policy_version, np.full((10, 4), number, np.float32)
        )
