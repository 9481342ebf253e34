"""The actor-critic against NumPy, and its own two ways of running."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from network_reference import (
    CORES,
    make,
    numpy_encoder,
    numpy_gru,
    numpy_heads,
    numpy_lstm,
    numpy_mingru,
    observations,
    to_numpy,
)

from jaxfactory.config.presets import PRESETS
from jaxfactory.models.actor_critic import ActorCritic
from jaxfactory.types import ActionSpec, EnvSpec, ObservationSpec


def test_reference_network_has_2_87_million_parameters():
    spec = EnvSpec(ObservationSpec((72, 128, 3)), ActionSpec((5,)))
    network = ActorCritic(spec, PRESETS["reference"].network)
    # conv 8*8*3*32+32 = 6,176; 4*4*32*64+64 = 32,832; 3*3*64*128+128 = 73,856;
    # 72x128 -> 17x31 -> 7x14 -> 3x6, so dense 3*6*128*512+512 = 1,180,160;
    # GRU 2*3*512*512 + 2*3*512 = 1,575,936; heads 512*5+5 and 512+1.
    assert network.num_parameters == 2_872_038


def test_measurements_add_their_layers():
    spec = EnvSpec(ObservationSpec((72, 128, 3), 23), ActionSpec((5,)))
    network = ActorCritic(spec, PRESETS["reference"].network)
    # 23*128+128 + 128*128+128, and 128 more inputs of the GRU's 3*512 gates.
    assert network.num_parameters == 2_872_038 + 3_072 + 16_512 + 196_608


def test_parameters_are_plain_dictionaries():
    _, params = make("gru")
    paths = jax.tree_util.tree_flatten_with_path(params)[0]
    for path, leaf in paths:
        assert all(isinstance(key, jax.tree_util.DictKey) for key in path)
        assert all(isinstance(key.key, str) for key in path)
        assert isinstance(leaf, jax.Array)
        assert leaf.dtype == jnp.float32


def test_initialization():
    _, params = make("gru", init_gain=1.0)
    # 1/sqrt(4*4*3) = 0.1443, 1/sqrt(8) = 0.3536
    conv, core = params["encoder"]["conv_0"], params["core"]
    for leaf, bound in ((conv["kernel"], 0.1443), (core["recurrent_kernel"], 0.3536)):
        assert 0.95 * bound < jnp.abs(leaf).max() <= bound + 1e-4
    assert 0.0 < jnp.abs(conv["bias"]).max() <= 0.1444
    head = np.asarray(params["policy"]["kernel"])
    np.testing.assert_allclose(head.T @ head, np.eye(5), atol=1e-5)
    np.testing.assert_array_equal(params["policy"]["bias"], np.zeros(5))


def test_a_small_policy_gain_begins_with_equal_probabilities():
    network, params = make("gru", policy_gain=0.01)
    head = np.asarray(params["policy"]["kernel"])
    np.testing.assert_allclose(head.T @ head, 1e-4 * np.eye(5), atol=1e-9)
    logits = network.apply(
        params, observations(3), network.initial_carry(3), jnp.ones(3, bool)
    )[0]
    assert np.abs(logits).max() < 0.05


def test_the_gain_multiplies_the_weights_that_see_images():
    before, after = (make("gru", init_gain=gain)[1] for gain in (1.0, 3.0))
    for name in before["encoder"]:
        factor = 1.0 if name.startswith("measurements") else 3.0
        old, new = before["encoder"][name], after["encoder"][name]
        np.testing.assert_allclose(new["kernel"], factor * old["kernel"], rtol=1e-6)
        np.testing.assert_array_equal(new["bias"], old["bias"])
    jax.tree.map(
        np.testing.assert_array_equal,
        {**before, "encoder": None}, {**after, "encoder": None},
    )  # fmt: skip


SKIPPING = {"feature_norm": True, "core_skip": True}
VARIANTS = pytest.mark.parametrize(
    ("core", "changes"),
    [
        *(pytest.param(core, {}, id=core) for core in CORES),
        *(pytest.param(core, SKIPPING, id=f"{core}-skipping") for core in CORES[:3]),
        pytest.param("none", {"feature_norm": True}, id="none-normalized"),
    ],
)


@VARIANTS
def test_apply_matches_numpy(core, changes):
    network, params = make(core, **changes)
    obs = observations(3)
    carry = jax.tree.map(
        lambda x: jax.random.normal(jax.random.key(1), x.shape),
        network.initial_carry(3),
    )
    is_first = jnp.array([False, True, False])
    logits, value, new_carry = network.apply(params, obs, carry, is_first)

    p = to_numpy(params)
    x = numpy_encoder(p["encoder"], to_numpy(obs))
    if changes:
        x = (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-5)
    features = x
    keep = np.array([1.0, 0.0, 1.0])[:, None]
    old = [keep * leaf for leaf in jax.tree.leaves(to_numpy(carry))]
    if core == "gru":
        x = expected_carry = numpy_gru(p["core"], x, *old)
    elif core == "mingru":
        x = expected_carry = numpy_mingru(p["core"], x, *old)
    elif core == "lstm":
        expected_carry = numpy_lstm(p["core"], x, *old)
        x = expected_carry[0]
    else:
        expected_carry = ()
    if changes.get("core_skip"):
        x = np.concatenate([x, features], 1)
    expected_logits, expected_value = numpy_heads(p, x)
    np.testing.assert_allclose(logits, expected_logits, atol=1e-5)
    np.testing.assert_allclose(value, expected_value, atol=1e-5)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5),
        new_carry,
        expected_carry,
    )


@VARIANTS
def test_unroll_is_apply_step_by_step(core, changes):
    network, params = make(core, **changes)
    obs = observations(5, 3)
    is_first = jnp.zeros((5, 3), bool).at[2, 1].set(True).at[0, 0].set(True)
    carry = jax.tree.map(lambda x: x + 0.5, network.initial_carry(3))
    logits, value, last = network.unroll(params, obs, is_first, carry)
    for t in range(5):
        now = jax.tree.map(lambda x, t=t: x[t], obs)
        step_logits, step_value, carry = network.apply(params, now, carry, is_first[t])
        np.testing.assert_allclose(logits[t], step_logits, atol=1e-5)
        np.testing.assert_allclose(value[t], step_value, atol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), last, carry)


@pytest.mark.parametrize("core", ["gru", "mingru", "lstm"])
def test_gradients_of_the_core_match_the_step_by_step_ones(core):
    network, params = make(core)
    obs = observations(4, 2)
    is_first = jnp.zeros((4, 2), bool).at[2, 1].set(True)

    def unrolled(params, carry):
        logits, value, _ = network.unroll(params, obs, is_first, carry)
        return (logits**2).sum() + value.sum()

    def stepped(params, carry):
        total = jnp.float32(0)
        for t in range(4):
            now = jax.tree.map(lambda x, t=t: x[t], obs)
            logits, value, carry = network.apply(params, now, carry, is_first[t])
            total += (logits**2).sum() + value.sum()
        return total

    carry = jax.tree.map(lambda x: x + 0.5, network.initial_carry(2))
    got, expected = (
        jax.jit(jax.grad(function, argnums=(0, 1)))(params, carry)
        for function in (unrolled, stepped)
    )
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4, rtol=1e-4),
        got,
        expected,
    )


def test_a_reset_forgets_the_carry():
    network, params = make("gru")
    obs, first = observations(2), jnp.ones(2, bool)
    some = network.initial_carry(2) + 3.0
    a = network.apply(params, obs, some, first)[0]
    b = network.apply(params, obs, network.initial_carry(2), ~first)[0]
    np.testing.assert_array_equal(a, b)


def test_too_small_an_image_is_a_sentence():
    spec = EnvSpec(ObservationSpec((20, 30, 3)), ActionSpec((2,)))
    # 20x30 -> 4x6 -> 1x2, which a 3x3 kernel does not fit.
    with pytest.raises(ValueError, match=r"convolution 3 of 3.*3x3.*1x2.*20x30"):
        ActorCritic(spec, PRESETS["reference"].network)
