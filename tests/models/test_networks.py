"""The actor-critic against NumPy, and its own two ways of running."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxfactory.config.presets import PRESETS
from jaxfactory.config.train import NetworkConfig
from jaxfactory.models.actor_critic import ActorCritic
from jaxfactory.types import ActionSpec, EnvSpec, ObservationSpec


SMALL = NetworkConfig(
    conv_channels=(4, 6),
    conv_kernels=(4, 3),
    conv_strides=(2, 1),
    hidden_size=10,
    core_size=8,
    measurements_sizes=(5,),
)
SPEC = EnvSpec(ObservationSpec((12, 16, 3), 2), ActionSpec((3, 2)))
CORES = ("gru", "lstm", "none")


def make(core):
    network = ActorCritic(SPEC, dataclasses.replace(SMALL, core=core))
    return network, network.init(jax.random.key(0))


def observations(*lead):
    keys = jax.random.split(jax.random.key(7))
    return {
        "image": jax.random.normal(keys[0], (*lead, 12, 16, 3)),
        "measurements": jax.random.normal(keys[1], (*lead, 2)),
    }


def sigmoid(x):
    return 1.0 / (1.0 + np.exp(-x))


def numpy_gru(p, x, h):
    """One step as the formulae of Cho et al. in PyTorch's form have it."""
    size = h.shape[-1]
    gates = {}
    for index, name in enumerate("rzn"):
        cut = slice(index * size, (index + 1) * size)
        gates[name] = (
            x @ p["kernel"][:, cut] + p["bias"][cut],
            h @ p["recurrent_kernel"][:, cut] + p["recurrent_bias"][cut],
        )
    r, z = sigmoid(sum(gates["r"])), sigmoid(sum(gates["z"]))
    n = np.tanh(gates["n"][0] + r * gates["n"][1])
    return (1 - z) * n + z * h


def numpy_lstm(p, x, h, c):
    gates = x @ p["kernel"] + p["bias"] + h @ p["recurrent_kernel"]
    i, f, g, o = np.split(gates + p["recurrent_bias"], 4, axis=-1)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def numpy_elu(x):
    return np.where(x > 0, x, np.expm1(x))


def numpy_conv(p, x, stride):
    size = p["kernel"].shape[0]
    rows = range(0, x.shape[1] - size + 1, stride)
    columns = range(0, x.shape[2] - size + 1, stride)
    out = [
        [
            np.tensordot(x[:, i : i + size, j : j + size], p["kernel"], 3) + p["bias"]
            for j in columns
        ]
        for i in rows
    ]
    return np.moveaxis(np.array(out), 2, 0)


def numpy_encoder(p, obs):
    x = numpy_elu(numpy_conv(p["conv_0"], obs["image"], 2))
    x = numpy_elu(numpy_conv(p["conv_1"], x, 1))
    x = numpy_elu(x.reshape(len(x), -1) @ p["dense"]["kernel"] + p["dense"]["bias"])
    layer = p["measurements_0"]
    y = numpy_elu(obs["measurements"] @ layer["kernel"] + layer["bias"])
    return np.concatenate([x, y], axis=-1)


def numpy_heads(p, x):
    logits = x @ p["policy"]["kernel"] + p["policy"]["bias"]
    value = x @ p["value"]["kernel"] + p["value"]["bias"]
    return logits, value[:, 0]


def to_numpy(tree):
    return jax.tree.map(lambda x: np.asarray(x, np.float64), tree)


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


def test_initialisation():
    _, params = make("gru")
    # 1/sqrt(4*4*3) = 0.1443, 1/sqrt(8) = 0.3536
    conv, core = params["encoder"]["conv_0"], params["core"]
    for leaf, bound in ((conv["kernel"], 0.1443), (core["recurrent_kernel"], 0.3536)):
        assert 0.95 * bound < jnp.abs(leaf).max() <= bound + 1e-4
    assert 0.0 < jnp.abs(conv["bias"]).max() <= 0.1444
    head = np.asarray(params["policy"]["kernel"])
    np.testing.assert_allclose(head.T @ head, np.eye(5), atol=1e-5)
    np.testing.assert_array_equal(params["policy"]["bias"], np.zeros(5))


@pytest.mark.parametrize("core", CORES)
def test_apply_matches_numpy(core):
    network, params = make(core)
    obs = observations(3)
    carry = jax.tree.map(
        lambda x: jax.random.normal(jax.random.key(1), x.shape),
        network.initial_carry(3),
    )
    is_first = jnp.array([False, True, False])
    logits, value, new_carry = network.apply(params, obs, carry, is_first)

    p = to_numpy(params)
    x = numpy_encoder(p["encoder"], to_numpy(obs))
    keep = np.array([1.0, 0.0, 1.0])[:, None]
    old = [keep * leaf for leaf in jax.tree.leaves(to_numpy(carry))]
    if core == "gru":
        x = expected_carry = numpy_gru(p["core"], x, *old)
    elif core == "lstm":
        expected_carry = numpy_lstm(p["core"], x, *old)
        x = expected_carry[0]
    else:
        expected_carry = ()
    expected_logits, expected_value = numpy_heads(p, x)
    np.testing.assert_allclose(logits, expected_logits, atol=1e-5)
    np.testing.assert_allclose(value, expected_value, atol=1e-5)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5),
        new_carry,
        expected_carry,
    )


@pytest.mark.parametrize("core", CORES)
def test_unroll_is_apply_step_by_step(core):
    network, params = make(core)
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


@pytest.mark.parametrize("core", ["gru", "lstm"])
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
    got = jax.grad(unrolled, argnums=(0, 1))(params, carry)
    expected = jax.grad(stepped, argnums=(0, 1))(params, carry)
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
