"""Layered cores, a critic of its own, residual convolutions, further dense layers."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import lax
from network_reference import (
    SMALL,
    SPEC,
    make,
    numpy_encoder,
    numpy_gru,
    numpy_heads,
    observations,
    to_numpy,
)

from jaxfactory._util.errors import UserError
from jaxfactory.config.env import EnvConfig
from jaxfactory.config.train import NetworkConfig, from_dict
from jaxfactory.models.actor_critic import ActorCritic
from jaxfactory.models.residual import PaddedConv, max_pool
from jaxfactory.types import ActionSpec, EnvSpec, ObservationSpec


def changed(**changes):
    config = dataclasses.replace(SMALL, **changes)
    network = ActorCritic(SPEC, config)
    return network, network.init(jax.random.key(0))


def close(ours, expected):
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), ours, expected
    )


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"core": "gru", "core_layers": 3}, marks=pytest.mark.slow),
        {"core": "lstm", "core_layers": 2, "separate_critic": True},
        pytest.param(
            {"core": "none", "separate_critic": True, "decoder_sizes": (6,)},
            marks=pytest.mark.slow,
        ),
    ],
    ids=str,
)
def test_unroll_is_apply_step_by_step(changes):
    network, params = changed(**changes)
    obs = observations(4, 3)
    is_first = jnp.zeros((4, 3), bool).at[2, 1].set(True).at[0, 0].set(True)
    carry = jax.tree.map(lambda x: x + 0.5, network.initial_carry(3))
    logits, value, last = jax.jit(network.unroll)(params, obs, is_first, carry)
    step = jax.jit(network.apply)
    for t in range(4):
        now = jax.tree.map(lambda x, t=t: x[t], obs)
        step_logits, step_value, carry = step(params, now, carry, is_first[t])
        close((logits[t], value[t]), (step_logits, step_value))
    assert jax.tree.structure(last) == jax.tree.structure(network.initial_carry(3))
    close(last, carry)


def test_two_layers_and_a_critic_match_numpy():
    network, params = changed(core_layers=2, separate_critic=True)
    obs = observations(3)
    keys = iter(jax.random.split(jax.random.key(1), 4))
    carry = jax.tree.map(
        lambda x: jax.random.normal(next(keys), x.shape), network.initial_carry(3)
    )
    step = jax.jit(network.apply)
    logits, value, after = step(params, obs, carry, jnp.zeros(3, bool))
    p, before = to_numpy(params), to_numpy(carry)
    made, expected = [], []
    for tower, (lower, upper) in zip((p, p["critic"]), before):
        x = numpy_encoder(tower["encoder"], to_numpy(obs))
        x = numpy_gru(tower["core"], x, lower)
        y = numpy_gru(tower["core_1"], x, upper)
        made.append(y)
        expected.append((x, y))
    close(logits, numpy_heads(p, made[0])[0])
    close(value, numpy_heads(p, made[1])[1])
    close(after, tuple(expected))


def test_the_critic_leaves_the_policy_alone():
    network, params = changed(separate_critic=True)
    # The policy's part is the same, bit for bit, as that of a network without.
    shared = make("gru")[1]
    assert params.keys() == {*shared, "critic"}
    rest = {name: params[name] for name in shared}
    jax.tree.map(np.testing.assert_array_equal, rest, shared)
    obs, carry = observations(2), network.initial_carry(2)

    def answer(params, index):
        return network.apply(params, obs, carry, jnp.zeros(2, bool))[index].sum()

    gradient = jax.jit(jax.grad(answer), static_argnums=1)
    policy, value = (gradient(params, index) for index in (0, 1))
    moved = jax.tree.map(lambda leaf: bool(jnp.any(leaf != 0.0)), (policy, value))
    assert not any(jax.tree.leaves([moved[0]["critic"], moved[0]["value"]]))
    judged = {"critic", "value"}
    assert not any(
        jax.tree.leaves([moved[1][name] for name in params if name not in judged])
    )
    assert moved[0]["encoder"]["conv_0"]["kernel"]
    assert moved[1]["critic"]["encoder"]["conv_0"]["kernel"]


def test_further_dense_layers():
    network, params = changed(dense_sizes=(7, 5))
    kernels = [params["encoder"][name]["kernel"] for name in ("dense_1", "dense_2")]
    assert [kernel.shape for kernel in kernels] == [(10, 7), (7, 5)]
    # With the 5 of the measurements.
    assert params["core"]["kernel"].shape == (10, 24)
    obs, carry = observations(2), network.initial_carry(2)
    logits, _, _ = jax.eval_shape(network.apply, params, obs, carry, jnp.zeros(2, bool))
    assert logits.shape == (2, 5)


@pytest.mark.parametrize("shape", [(2, 7, 8, 3), (1, 12, 5, 4), (1, 1, 2, 1)])
def test_max_pool_and_its_gradient(shape):
    x = jax.random.normal(jax.random.key(3), shape)
    rows, columns = ((size + 1) // 2 for size in shape[1:3])
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=-np.inf)
    expected = [
        [
            padded[:, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3].max((1, 2))
            for j in range(columns)
        ]
        for i in range(rows)
    ]
    pooled = max_pool(x)
    np.testing.assert_array_equal(pooled, np.moveaxis(np.array(expected), 2, 0))
    weights = jax.random.normal(jax.random.key(4), pooled.shape)

    def plain(x):
        borders = ((0, 0), (1, 1), (1, 1), (0, 0))
        window = (1, 3, 3, 1), (1, 2, 2, 1)
        return lax.reduce_window(x, -jnp.inf, lax.max, *window, borders)

    got, wanted = (
        jax.jit(jax.grad(lambda x, pool=pool: (weights * pool(x)).sum()))(x)
        for pool in (max_pool, plain)
    )
    close(got, wanted)


@pytest.mark.parametrize("channels", [3, 8])
def test_a_padded_convolution(channels):
    layer = PaddedConv(channels, 16, nnx.Rngs(0))
    graph, _ = nnx.split(layer)
    x = jax.random.normal(jax.random.key(3), (2, 5, 6, channels))

    def plain(kernel, x):
        layout = ("NHWC", "HWIO", "NHWC")
        return lax.conv_general_dilated(
            x, kernel, (1, 1), "SAME", dimension_numbers=layout
        )

    def ours(kernel, x):
        state = nnx.State({"kernel": kernel, "bias": jnp.zeros(16)})
        return nnx.merge(graph, state)(x)

    kernel = layer.kernel[...]
    close(ours(kernel, x), plain(kernel, x))
    got, wanted = (
        jax.jit(jax.grad(lambda kernel, f=f: jnp.sin(f(kernel, x)).sum()))(kernel)
        for f in (ours, plain)
    )
    np.testing.assert_allclose(got, wanted, atol=1e-4)


def test_the_residual_encoder_of_impala():
    config = NetworkConfig(
        encoder="resnet_impala", conv_channels=(16, 32, 32), hidden_size=512,
        core_size=512,
    )  # fmt: skip
    network = ActorCritic(
        EnvSpec(ObservationSpec((72, 128, 3)), ActionSpec((5,))), config
    )
    # Stages: 448 + 4 * 2,320; 4,640 + 4 * 9,248; 9,248 + 4 * 9,248. 72x128 -> 9x16, so
    # dense 9*16*32*512 + 512 = 2,359,808; the core and heads as in test_networks.
    stages = 448 + 9_280 + 4_640 + 36_992 + 9_248 + 36_992
    assert network.num_parameters == stages + 2_359_808 + 1_575_936 + 2_565 + 513


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: NetworkConfig(core="none", core_layers=2), "--core-layers 2 needs a"),
        (
            lambda: NetworkConfig(core="none", core_skip=True),
            "--core-skip does nothing with --core none, whose heads see the encoder's "
            "features anyway; add --no-core-skip or another --core",
        ),
        (lambda: NetworkConfig(core_layers=0), "--core-layers 0 must be greater"),
        (
            lambda: NetworkConfig(encoder="resnet_impala", conv_kernels=(3, 3, 3)),
            "--conv-kernels 3 3 3 does nothing with --encoder resnet_impala",
        ),
        (
            lambda: EnvConfig(scenario="gymnasium:CartPole-v1", measurements=False),
            "--no-measurements is for Doom and does nothing for gymnasium:CartPole-v1",
        ),
    ],
)
def test_a_bad_value_is_one_sentence(make, words):
    with pytest.raises(UserError) as error:
        make()
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_settings_of_an_older_version_are_read():
    config = from_dict({"env": {"scenario": "battle"}, "network": {"core": "lstm"}})
    assert config.env.measurements
    assert (config.network.core_layers, config.network.separate_critic) == (1, False)
    assert NetworkConfig(encoder="resnet_impala", conv_channels=(8, 8)).core == "gru"
