"""The value function that also sees game variables, against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from network_reference import to_numpy

from jaxfactory._util.errors import UserError
from jaxfactory.config.train import NetworkConfig
from jaxfactory.models.actor_critic import ActorCritic
from jaxfactory.types import ActionSpec, EnvSpec, ObservationSpec


SPEC = EnvSpec(ObservationSpec(None, 3), ActionSpec((4,)), variables=2)
SMALL = {"core": "none", "measurements_sizes": (6, 5)}
NAN = np.nan


def make(**changes):
    network = ActorCritic(
        SPEC, NetworkConfig(**SMALL, critic_sees="variables", **changes)
    )
    return network, network.init(jax.random.key(0))


def elu(x):
    return np.where(x > 0, x, np.exp(np.minimum(x, 0)) - 1)


def test_the_value_is_that_of_a_dense_network_over_features_and_variables():
    network, params = make()
    rng = np.random.default_rng(0)
    seen = rng.normal(size=(4, 3)).astype(np.float32)
    variables = np.array([[1, -2], [3, 4], [NAN, 5], [0.5, 0]], np.float32)
    first = np.array([False, True, False, False])
    obs = {"measurements": jnp.array(seen), "variables": jnp.array(variables)}
    logits, value, _ = network.apply(params, obs, (), jnp.array(first))
    p = to_numpy(params)
    x = seen
    for index in range(2):
        layer = p["encoder"][f"measurements_{index}"]
        x = elu(x @ layer["kernel"] + layer["bias"])
    features = x
    # Two variables and the flag; unknown at an episode's start and where not a number.
    inputs = np.array([[1, -2, 0], [0, 0, 1], [0, 0, 1], [0.5, 0, 0]])
    x = np.concatenate([features, inputs], 1)
    for index in range(2):
        layer = p["variables"][f"layer_{index}"]
        x = elu(x @ layer["kernel"] + layer["bias"])
    x = np.concatenate([features, x], 1)
    expected = (x @ p["value"]["kernel"] + p["value"]["bias"])[:, 0]
    np.testing.assert_allclose(value, expected, atol=1e-5)
    policy = p["policy"]
    expected = features @ policy["kernel"] + policy["bias"]
    np.testing.assert_allclose(logits, expected, atol=1e-5)


def test_the_policy_never_sees_the_variables_and_acts_without_them():
    network, params = make(separate_critic=True)
    stats = network.init_normalizer().obs
    assert stats["variables"].mean.shape == (2,)
    plain = {"measurements": np.ones((2, 3), np.float32)}
    first = jnp.zeros(2, bool)
    carry = network.initial_carry(2)

    def run(obs):
        return network.apply(params, network.normalize(obs, stats), carry, first)

    def with_variables(value):
        return run({**plain, "variables": np.full((2, 2), value, np.float32)})

    low, high, without = with_variables(0.0), with_variables(4.0), run(plain)
    np.testing.assert_array_equal(low[0], high[0])
    np.testing.assert_array_equal(low[0], without[0])
    assert np.abs(low[1] - high[1]).min() > 1e-3
    assert np.isfinite(without[1]).all()


def test_without_game_variables_there_is_one_sentence():
    with pytest.raises(UserError, match="--critic-sees variables needs game variables"):
        ActorCritic(SPEC._replace(variables=0), NetworkConfig(critic_sees="variables"))


def test_off_adds_nothing():
    plain = ActorCritic(SPEC, NetworkConfig(**SMALL))
    params = plain.init(jax.random.key(0))
    assert sorted(params) == ["encoder", "policy", "value"]
    assert list(plain.init_normalizer().obs) == ["measurements"]
    assert plain.num_variables == 0
