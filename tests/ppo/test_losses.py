"""The PPO loss by hand, and against NumPy in float64."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxfactory.config.train import NetworkConfig, PPOConfig
from jaxfactory.models.actor_critic import ActorCritic
from jaxfactory.models.distributions import Categorical
from jaxfactory.models.normalization import init_normalizer
from jaxfactory.ppo import losses
from jaxfactory.types import ActionSpec, Batch, EnvSpec, ObservationSpec


def row(*values):
    return jnp.array([values], jnp.float32)


def test_policy_loss_clips():
    # Interval [1/1.25, 1.25] = [0.8, 1.25]. For advantage +1: min(r, clip(r)) gives
    # 1.25 for r = 2 and 0.5 for r = 0.5; for -1: -2 for r = 2 and -0.8 for r = 0.5.
    ratio, advantage = row(2.0, 0.5, 2.0, 0.5), row(1, 1, -1, -1)
    got = losses.policy_loss(ratio, advantage, row(1, 1, 1, 1), 0.25)
    np.testing.assert_allclose(got, -(1.25 + 0.5 - 2.0 - 0.8) / 4, rtol=1e-6)
    got = losses.policy_loss(ratio, advantage, row(1, 2, 0, 1), 0.25)
    np.testing.assert_allclose(got, -(1.25 + 1.0 - 0.8) / 4, rtol=1e-6)


def test_value_loss_takes_the_larger_error():
    # old 0, clip 0.2. v = 1, R = 1: clipped 0.2, errors 0 and 0.64 -> 0.64.
    # v = -1, R = 1: clipped -0.2, errors 4 and 1.44 -> 4. v = 0.1, R = 0: 0.01.
    got = losses.value_loss(row(1.0, -1.0, 0.1), row(0, 0, 0), row(1, 1, 0), 0.2)
    np.testing.assert_allclose(got, (0.64 + 4.0 + 0.01) / 3, rtol=1e-6)


def test_without_a_clip_the_value_loss_is_the_squared_error():
    got = losses.value_loss(row(1.0, -1.0, 0.1), row(0, 0, 0), row(1, 1, 0), 0.0)
    np.testing.assert_allclose(got, (0.0 + 4.0 + 0.01) / 3, rtol=1e-6)


def test_symmetric_kl_is_capped_for_each_sample():
    # The second sample's is 100 (see test_distributions) and counts as 30.
    logits = jnp.array([[[0.0, 0.0], [0.0, -400.0]]])
    got = losses.capped_symmetric_kl(logits, Categorical((2,)))
    np.testing.assert_allclose(got, 15.0, rtol=1e-6)


def test_advantages_are_normalized():
    # Mean 2, standard deviation sqrt(2/3).
    got = losses.normalize_advantage(row(1, 2, 3))
    np.testing.assert_allclose(got, row(-1.224745, 0.0, 1.224745), rtol=1e-5)
    np.testing.assert_array_equal(losses.normalize_advantage(row(4, 4)), row(0, 0))


SPEC = EnvSpec(ObservationSpec((8, 8, 1)), ActionSpec((3, 2)))
NETWORK = NetworkConfig(
    conv_channels=(4,),
    conv_kernels=(4,),
    conv_strides=(2,),
    hidden_size=8,
    core_size=8,
)


@pytest.mark.parametrize("exploration", ["symmetric_kl", "entropy"])
def test_matches_numpy(exploration):
    config = PPOConfig(
        ent_coef=0.3, exploration=exploration, clip_eps=0.1, value_clip=0.2,
        kl_coef=0.4, balance_coef=0.7,
    )  # fmt: skip
    network = ActorCritic(SPEC, NETWORK)
    params = jax.jit(network.init)(jax.random.key(0))
    rng = np.random.default_rng(0)
    shape = (5, 4)
    old_log_prob = (rng.normal(size=shape) * 0.2 - 1.8).astype(np.float32)
    weight = rng.uniform(0.5, 2.0, shape).astype(np.float32)
    old_value, advantage, target = rng.normal(size=(3, *shape)).astype(np.float32)
    batch = Batch(
        obs={"image": jnp.asarray(rng.integers(0, 256, (*shape, 8, 8, 1), np.uint8))},
        is_first=jnp.zeros(shape, bool),
        action=jnp.asarray(rng.integers(0, 2, (*shape, 2)), jnp.int32),
        log_prob=jnp.asarray(old_log_prob),
        value=jnp.asarray(old_value),
        weight=jnp.asarray(weight),
        advantage=jnp.asarray(advantage),
        target=jnp.asarray(target),
        carry=network.initial_carry(4),
    )
    normalizer = init_normalizer(SPEC.observation)
    # One program: its operations one by one would each be compiled.
    loss_of = functools.partial(
        losses.ppo_loss, network=network, normalizer=normalizer, config=config
    )
    loss, metrics = jax.jit(loss_of)(params, batch)

    image = {"image": batch.obs["image"].astype(jnp.float32) / 255.0}
    unroll = jax.jit(network.unroll)
    logits, value, _ = unroll(params, image, batch.is_first, batch.carry)
    logits, value = np.asarray(logits, np.float64), np.asarray(value, np.float64)
    new_log_prob = kl = entropy = balance = 0.0
    for head, (start, stop) in enumerate(((0, 3), (3, 5))):
        exp = np.exp(logits[..., start:stop])
        p, u = exp / exp.sum(-1, keepdims=True), 1.0 / (stop - start)
        action = np.asarray(batch.action)[..., head, None]
        new_log_prob += np.log(np.take_along_axis(p, action, -1))[..., 0]
        kl += 0.5 * (p * np.log(p / u)).sum(-1) + 0.5 * (u * np.log(u / p)).sum(-1)
        entropy -= (p * np.log(p)).sum(-1)
        balance -= (p.mean((0, 1)) * np.log(p.mean((0, 1)))).sum()
    ratio = np.exp(new_log_prob - old_log_prob)
    scaled = (advantage - advantage.mean()) / advantage.std()
    surrogate = np.minimum(ratio * scaled, np.clip(ratio, 1 / 1.1, 1.1) * scaled)
    policy = -(weight * surrogate).mean()
    moved = old_value + np.clip(value - old_value, -0.2, 0.2)
    critic = np.maximum((value - target) ** 2, (moved - target) ** 2).mean()
    explore = {"symmetric_kl": np.minimum(kl, 30).mean(), "entropy": -entropy.mean()}
    approx_kl = (ratio - 1 - np.log(ratio)).mean()
    expected = policy + 0.5 * critic + 0.3 * explore[exploration] + 0.4 * approx_kl
    expected -= 0.7 * balance

    np.testing.assert_allclose(loss, expected, rtol=1e-4)
    np.testing.assert_allclose(metrics.policy_loss, policy, rtol=1e-3)
    np.testing.assert_allclose(metrics.value_loss, critic, rtol=1e-4)
    np.testing.assert_allclose(metrics.entropy, entropy.mean(), rtol=1e-4)
    outside = (ratio > 1.1) | (ratio < 1 / 1.1)
    np.testing.assert_allclose(metrics.clip_fraction, outside.mean(), rtol=1e-5)
    np.testing.assert_allclose(metrics.approx_kl, approx_kl, rtol=1e-3)
