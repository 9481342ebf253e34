"""Exploration bonuses: what is new is rewarded, in training alone."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxfactory._util.errors import UserError
from jaxfactory.checkpoints import checkpoint_files
from jaxfactory.config import runs
from jaxfactory.config.network import BonusConfig
from jaxfactory.config.train import Config, NetworkConfig, PPOConfig
from jaxfactory.models.actor_critic import ActorCritic
from jaxfactory.ppo.bonus import elliptical, returns
from jaxfactory.ppo.bonus.exploration import Exploration, make_exploration
from jaxfactory.ppo.learner import init_train_state, make_update
from jaxfactory.types import ActionSpec, EnvSpec, ObservationSpec, Rollout


T, B = 8, 4
SPEC = EnvSpec(ObservationSpec((8, 8, 1), 2), ActionSpec((3, 2)))
NETWORK = ActorCritic(
    SPEC,
    NetworkConfig(
        conv_channels=(4,), conv_kernels=(4,), conv_strides=(2,), hidden_size=8,
        core_size=8, measurements_sizes=(4,),
    ),
)  # fmt: skip
PPO = PPOConfig(num_steps=T, num_minibatches=2, num_epochs=2)
BOTH = BonusConfig(bonus="rnd+episodic")


def make_rollout(seed=0, values=256, terminated=False):
    rng = np.random.default_rng(seed)
    normal = rng.normal(size=(4, T, B)).astype(np.float32)
    ends = np.zeros((T, B), bool)
    ends[3, 1] = True
    return Rollout(
        obs={
            "image": rng.integers(0, values, (T + 1, B, 8, 8, 1), np.uint8),
            "measurements": rng.normal(size=(T + 1, B, 2)).astype(np.float32),
        },
        is_first=np.concatenate([np.ones((1, B), bool), ends]),
        action=rng.integers(0, 2, (T, B, 2)).astype(np.int32),
        log_prob=normal[0] * 0.1 - 1.8,
        value=normal[1],
        reward=normal[2],
        terminated=ends & terminated,
        truncated=ends & (not terminated),
        final_value=normal[3],
        bootstrap_value=rng.normal(size=B).astype(np.float32),
        carry=NETWORK.initial_carry(B),
        policy_version=np.zeros((T, B), np.float32),
    )


def make(bonus, ppo=PPO):
    exploration = Exploration(NETWORK, ppo, bonus, B) if bonus.kinds else None
    state = init_train_state(NETWORK, ppo, jax.random.key(0), exploration)
    return make_update(NETWORK, ppo, bonus=exploration), state


def copied(state):
    """Return a copy: an update donates the optimizers' states."""
    arrays = checkpoint_files.named_arrays(state)
    return checkpoint_files.with_arrays(state, arrays)


def same(one, other):
    one, other = (checkpoint_files.named_arrays(state) for state in (one, other))
    assert one.keys() == other.keys()
    for name, leaf in one.items():
        np.testing.assert_array_equal(leaf, other[name], err_msg=name)


@pytest.fixture(scope="module")
def trained():
    """Two updates with both bonuses: the update, the states and their metrics."""
    update, state = make(BOTH)
    states, metrics = [copied(state)], []
    for seed in range(2):
        state, one = update(state, make_rollout(seed))
        states.append(copied(state))
        metrics.append(one)
    return update, states, metrics


def test_metrics_and_state(trained):
    _, states, metrics = trained
    names = (
        "bonus_rnd", "bonus_episodic", "bonus_mean", "bonus_advantage_std", "rnd_loss",
        "inverse_loss", "bonus_value_loss", "bonus_explained_variance",
    )  # fmt: skip
    for name in names:
        assert metrics[1][name].shape == (), name
        assert np.isfinite(metrics[1][name]), name
    assert metrics[0]["bonus_rnd"] > 0
    # Before training, the actions are as likely as guessed: log 3 + log 2 nats.
    assert abs(metrics[0]["inverse_loss"] - np.log(6)) < 1.0
    before, after = states[0].bonus, states[1].bonus
    same(before.target, after.target)
    assert not np.array_equal(before.inverse, after.inverse)
    assert set(after.params) == {"value", "rnd", "episodic"}


def test_no_bonus_is_no_state_and_a_coefficient_of_zero_changes_nothing(trained):
    update, state = make(BonusConfig())
    assert state.bonus == ()
    assert make_exploration(NETWORK, Config()) is None
    plain, metrics = update(state, make_rollout())
    assert not [name for name in metrics if "bonus" in name or "rnd" in name]
    update, state = make(dataclasses.replace(BOTH, bonus_coef=0.0))
    other, _ = update(state, make_rollout())
    same(plain, other._replace(bonus=()))
    # With another coefficient, it does.
    _, states, _ = trained
    bias = plain.params["policy"]["bias"]
    assert not np.array_equal(bias, states[1].params["policy"]["bias"])


def test_training_resumes_exactly(trained, tmp_path):
    update, states, _ = trained
    host = {
        "frames": 0,
        "seconds": 0,
        "best": None,
        "episodes": {"total": 0, "rows": []},
    }
    arrays = checkpoint_files.named_arrays(states[1])
    path = checkpoint_files.write_arrays(tmp_path, "latest", arrays, host)
    _, fresh = make(BOTH)
    restored = checkpoint_files.read_state(path, fresh)
    same(restored, states[1])
    again, _ = update(restored, make_rollout(1))
    same(again, states[2])
    # Evaluation reads the policy's own fields, and nothing of the bonus.
    policy = checkpoint_files.read_state(path, fresh._replace(bonus=()), partial=True)
    same(policy.params, states[1].params)


def test_rnd_rewards_less_and_less_what_is_seen_often():
    ppo = dataclasses.replace(PPO, learning_rate=3e-3, num_minibatches=1)
    update, state = make(BonusConfig(bonus="rnd"), ppo)
    assert set(state.bonus.params) == {"value", "rnd"}
    assert state.bonus.inverse == ()
    bonuses = []
    for _ in range(40):
        state, metrics = update(state, make_rollout())
        bonuses.append(float(metrics["bonus_rnd"]))
    assert bonuses[-1] < 0.5 * bonuses[0]
    # Darker images than any before.
    _, metrics = update(state, make_rollout(1, values=64))
    assert metrics["bonus_rnd"] > 1.5 * bonuses[-1]


def test_the_elliptical_bonus_matches_a_matrix_inverse():
    rng = np.random.default_rng(0)
    phi = rng.normal(size=(6, 2, elliptical.FEATURES)).astype(np.float32)
    phi /= np.linalg.norm(phi, axis=-1, keepdims=True)
    phi[2, 0] = phi[1, 0]
    is_first = np.zeros((6, 2), bool)
    is_first[0] = is_first[4, 1] = True
    got, inverse = jax.jit(elliptical.bonuses)(
        phi, is_first, 7 * elliptical.initial_inverse(2)
    )
    ridge = 0.1 * np.eye(elliptical.FEATURES)
    for env in range(2):
        covariance = ridge
        for t in range(6):
            if is_first[t, env]:
                covariance, wanted = ridge, 0.0
            else:
                wanted = phi[t, env] @ np.linalg.inv(covariance) @ phi[t, env]
            if t:
                np.testing.assert_allclose(got[t - 1, env], wanted, rtol=1e-3)
            covariance = covariance + np.outer(phi[t, env], phi[t, env])
        np.testing.assert_allclose(inverse[env], np.linalg.inv(covariance), atol=1e-3)
    # Unit vectors: 1 / 0.1 for a direction that is new, 1 / 1.1 for one seen once.
    assert got[0, 0] > 9.0
    np.testing.assert_allclose(got[1, 0], 1 / 1.1, atol=0.05)


def test_an_episode_goes_on_from_rollout_to_rollout():
    """Two rollouts give what one of their joint length does."""
    rng = np.random.default_rng(1)
    phi = jnp.array(rng.normal(size=(9, 3, elliptical.FEATURES)) / 8, jnp.float32)
    ends = np.zeros((9, 3), bool)
    ends[0] = ends[4, 1] = ends[6, 2] = True
    is_first = jnp.array(ends)
    start = elliptical.initial_inverse(3)
    whole, after = elliptical.bonuses(phi, is_first, start)
    first, inverse = elliptical.bonuses(phi[:5], is_first[:5], start)
    second, inverse = elliptical.bonuses(phi[4:], is_first[4:], inverse)
    np.testing.assert_allclose(jnp.concatenate([first, second]), whole, rtol=1e-4)
    np.testing.assert_allclose(inverse, after, rtol=1e-4, atol=1e-5)


def test_returns_of_one_kind_know_no_ends():
    """Rewards of 2, 0, 2 with an end after the second step, gamma 0.5, values of 0."""
    bonus = jnp.array([2.0, 0.0, 2.0])[:, None, None].repeat(2, 2)
    ends = jnp.zeros((3, 1, 2), bool).at[1, 0, 1].set(True)
    stats = returns.init_stats(1, 2)
    targets, after = returns.bonus_targets(
        bonus, jnp.zeros((4, 1, 2)), ends, stats, gamma=0.5, gae_lambda=1.0
    )
    # Sums: 2, 1, 2.5 without ends; 2, 0, 2 with one.
    np.testing.assert_allclose(after.sums, [[2.5, 2.0]])
    sums = np.array([[2.0, 1.0, 2.5], [2.0, 0.0, 2.0]])
    np.testing.assert_allclose(after.scale.var, sums.var(1), rtol=1e-3)
    # Returns: 2 + 0.25 * 2, 0.5 * 2 and 2 without ends; 2, 0 and 2 with one.
    wanted = np.array([[2.5, 1.0, 2.0], [2.0, 0.0, 2.0]]) / sums.std(1)[:, None]
    np.testing.assert_allclose(targets.advantage[:, 0], wanted.sum(0), rtol=1e-3)
    np.testing.assert_allclose(after.returns.mean, wanted.mean(1), rtol=1e-3)


def test_settings():
    with pytest.raises(
        UserError, match=r"--bonus-gamma 1.0 must be between 0 and 0.99"
    ):
        BonusConfig(bonus_gamma=1.0)
    with pytest.raises(UserError, match="--bonus rnd compares normalized observations"):
        Config(intrinsic=BonusConfig(bonus="rnd"), ppo=PPOConfig(normalize_obs=False))


def test_a_run_keeps_its_bonus(tmp_path):
    config = Config(intrinsic=BonusConfig(bonus="rnd"))
    runs.open_run(tmp_path, config)
    with pytest.raises(UserError, match="with --bonus rnd and cannot resume with --bo"):
        runs.open_run(tmp_path, Config())
    fewer = dataclasses.replace(config.env, num_envs=32)
    with pytest.raises(UserError, match="with --num-envs 64 and cannot resume"):
        runs.open_run(tmp_path, dataclasses.replace(config, env=fewer))
    runs.open_run(
        tmp_path,
        dataclasses.replace(config, intrinsic=BonusConfig(bonus="rnd", bonus_coef=1.0)),
    )
