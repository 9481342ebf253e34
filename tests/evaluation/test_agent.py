"""An agent acts as its network does, and says what it cannot take."""

import dataclasses
import re

import jax
import numpy as np
import pytest

from jaxfactory._util.errors import UserError
from jaxfactory.checkpoints.policy import TrainedPolicy
from jaxfactory.config.train import Config, NetworkConfig
from jaxfactory.evaluation.agent import Agent
from jaxfactory.models.actor_critic import ActorCritic
from jaxfactory.models.normalization import Normalizer, RunningStats
from jaxfactory.types import ActionSpec, EnvSpec, ObservationSpec


SPEC = EnvSpec(ObservationSpec((12, 16, 3)), ActionSpec((3, 2)))
NETWORK = NetworkConfig(
    conv_channels=(4,),
    conv_kernels=(4,),
    conv_strides=(2,),
    hidden_size=8,
    core_size=8,
)
OBS = np.random.default_rng(0).integers(256, size=(5, 12, 16, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def parts():
    network = ActorCritic(SPEC, NETWORK)
    image = RunningStats(
        jax.numpy.full((12, 16, 3), 0.25),
        jax.numpy.full((12, 16, 3), 0.5),
        jax.numpy.ones(()),
    )
    # Mean 2, variance 9: a value of 1 stands for 2 + 3.
    returns = RunningStats(*map(jax.numpy.float32, (2.0, 9.0, 1.0)))
    params = network.init(jax.random.key(1))
    return network, params, Normalizer({"image": image}, returns)


@pytest.fixture
def agent(parts):
    policy = TrainedPolicy(*parts, Config(network=NETWORK), frames=7)
    return Agent(policy, seed=3)


def reference(parts, carry):
    """Logits, values and carry, one layer of ours less."""
    network, params, _ = parts
    image = np.clip((OBS / np.float32(255.0) - 0.25) / np.sqrt(0.5 + 1e-5), -5, 5)
    inputs = {"image": jax.numpy.asarray(image, np.float32)}
    none_first = jax.numpy.zeros(5, bool)
    logits, value, carry = network.apply(params, inputs, carry, none_first)
    return np.asarray(logits), np.asarray(value), carry


def test_it_computes_what_its_network_does(agent, parts):
    logits, value, after = reference(parts, agent.initial_carry(5))
    np.testing.assert_allclose(agent.logits(OBS), logits, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(agent.values(OBS), 2 + 3 * value, rtol=1e-4, atol=1e-4)
    action, carry = agent.act(OBS, deterministic=True)
    assert action.dtype == np.int32
    best = [logits[:, :3].argmax(1), logits[:, 3:].argmax(1)]
    np.testing.assert_array_equal(action, np.stack(best, 1))
    np.testing.assert_allclose(carry, after, atol=1e-5)
    # With the carry it goes on, and where an episode begins it forgets.
    on = reference(parts, carry)[0]
    np.testing.assert_allclose(agent.logits(OBS, carry), on, rtol=1e-4, atol=1e-5)
    assert np.abs(on - logits).max() > 1e-3
    is_first = np.array([True, False, True, False, False])
    some = agent.logits(OBS, carry, is_first=is_first)
    expected = np.where(is_first[:, None], logits, on)
    np.testing.assert_allclose(some, expected, rtol=1e-4, atol=1e-5)


def test_without_normalized_returns_the_values_are_the_network_s(agent, parts):
    config = Config(network=NETWORK)
    ppo = dataclasses.replace(config.ppo, normalize_returns=False)
    plain = Agent(TrainedPolicy(*parts, dataclasses.replace(config, ppo=ppo), 0))
    value = reference(parts, agent.initial_carry(5))[1]
    np.testing.assert_allclose(plain.values(OBS), value, rtol=1e-4, atol=1e-5)


def test_the_seed_decides_what_is_sampled(agent):
    def some(count):
        return [agent.act(OBS)[0] for _ in range(count)]

    first = some(8)
    assert any((a != first[0]).any() for a in first[1:])
    agent.seed(3)
    np.testing.assert_array_equal(first, some(8))
    agent.seed(4)
    assert (np.array(first) != np.array(some(8))).any()
    # A key of the caller's own decides alone, and does not count as a call.
    agent.seed(3)
    by_seed = agent.act(OBS, key=5)[0]
    np.testing.assert_array_equal(by_seed, agent.act(OBS, key=jax.random.key(5))[0])
    np.testing.assert_array_equal(first, some(8))


def test_it_samples_from_its_logits(agent):
    obs = np.repeat(OBS[:1], 4000, axis=0)
    action, _ = agent.act(obs)
    logits = agent.logits(OBS[:1])[0].astype(np.float64)
    p = np.exp(logits[:3]) / np.exp(logits[:3]).sum()
    found = np.bincount(action[:, 0], minlength=3) / 4000
    # Four standard deviations of a share near 1/3: 4 sqrt(2/9 / 4000) = 0.03.
    np.testing.assert_allclose(found, p, atol=0.03)


def test_it_leaves_what_it_was_given(agent):
    obs = OBS.copy()
    carry = agent.initial_carry(5)
    agent.act({"image": obs}, carry)
    np.testing.assert_array_equal(obs, OBS)
    np.testing.assert_array_equal(carry, np.zeros((5, 8)))


@pytest.mark.parametrize(
    ("obs", "sentence"),
    [
        (OBS[0], "as uint8 [B, 12, 16, 3], a batch of B, but got uint8 "
         "[12, 16, 3]; for a single one, give obs[None]"),
        (OBS[:, :6], "but got uint8 [5, 6, 16, 3]"),
        (OBS / 255.0, "but got float64 [5, 12, 16, 3]"),
        ({"picture": OBS}, "takes observations of image, but got picture"),
    ],
)  # fmt: skip
def test_what_it_cannot_take_is_a_sentence(agent, obs, sentence):
    with pytest.raises(UserError, match=re.escape(sentence)):
        agent.act(obs)


def test_a_carry_of_another_batch_is_a_sentence(agent):
    with pytest.raises(UserError, match=r"start with initial_carry\(5\)"):
        agent.act(OBS, agent.initial_carry(4))
    with pytest.raises(UserError, match=r"start with initial_carry\(5\)"):
        agent.act(OBS, is_first=np.zeros(4, bool))
