"""The bfloat16 kernels against float32 arithmetic on rounded factors."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxfactory._util.errors import UserError
from jaxfactory.config.network import NetworkConfig
from jaxfactory.models.activations import ACTIVATIONS
from jaxfactory.models.actor_critic import ActorCritic
from jaxfactory.models.bfloat16 import dense, gru, image_encoder, kernels
from jaxfactory.models.bfloat16.image_encoder import Layers, Pixels
from jaxfactory.models.normalization import init_normalizer
from jaxfactory.spec import ActionSpec, EnvSpec, ObservationSpec


pytestmark = pytest.mark.skipif(
    not kernels.available(), reason="the processor has no AVX-512-BF16"
)


def rounded(x):
    return x.astype(jnp.bfloat16).astype(jnp.float32)


def integers(rng, *shape, most=2):
    return jnp.asarray(rng.integers(-most, most + 1, shape), jnp.float32)


def sparse(rng, *shape):
    """Return -1, 0 and 1, of which few are not 0, so that sums stay below 256."""
    kept = jnp.asarray(rng.random(shape) < 0.06)
    return jnp.where(kept, integers(rng, *shape, most=1), 0.0)


def convolved(x, weights, layers):
    """Compute layers in float32, with results rounded like the kernels'."""
    for (kernel, bias), stride in zip(weights, layers.strides, strict=True):
        y = lax.conv_general_dilated(
            x, rounded(kernel), (stride, stride), "VALID",
            dimension_numbers=("NHWC", "HWIO", "NHWC"), precision="highest",
        )  # fmt: skip
        x = ACTIVATIONS[layers.activation](y + jnp.broadcast_to(bias, y.shape))
        # Straight through, as in the kernels.
        x = x + lax.stop_gradient(rounded(x) - x)
    return x


# (images, (height, width, channels), [(kernel size, stride, outputs)])
STACKS = [
    (1, (72, 128, 3), [(8, 4, 16), (4, 2, 32), (3, 2, 64)]),
    (5, (40, 64, 3), [(8, 4, 32), (4, 2, 64), (3, 2, 128)]),
    (6, (9, 12, 8), [(3, 1, 16)]),
    (3, (13, 11, 4), [(2, 3, 48)]),
    (37, (8, 8, 1), [(8, 5, 16)]),
    (4, (20, 17, 8), [(5, 3, 48), (1, 1, 16), (2, 1, 16)]),
]


@pytest.mark.parametrize(("count", "image", "stack"), STACKS)
def test_convolutions_of_integers_are_exact(count, image, stack):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 4, (count, *image)).astype(np.uint8)
    inputs, weights = image[2], []
    for size, _, outputs in stack:
        kernel = sparse(rng, size, size, inputs, outputs)
        weights.append((kernel, integers(rng, outputs)))
        inputs = outputs
    layers = Layers(tuple(stride for _, stride, _ in stack), "relu", 100.0)
    images = Pixels(pixels, jnp.ones(image), jnp.full(image, -1.0))
    assert image_encoder.fits(
        (image[2], *(outputs for *_, outputs in stack)), tuple(s for s, *_ in stack)
    )

    @jax.jit
    def run(weights, errors):
        mine, pull = jax.vjp(
            lambda w: image_encoder.image_features(images, w, layers), weights
        )
        x = jnp.asarray(pixels, jnp.float32) - 1.0
        theirs, push = jax.vjp(lambda w: convolved(x, w, layers), weights)
        return (
            (mine.astype(jnp.float32), pull(errors.astype(jnp.bfloat16))[0]),
            (theirs, push(errors)[0]),
        )

    weights = tuple(weights)
    shape = jax.eval_shape(
        lambda w: image_encoder.image_features(images, w, layers), weights
    ).shape
    mine, theirs = run(weights, sparse(rng, *shape))
    assert float(jnp.abs(theirs[0]).max()) <= 256
    jax.tree.map(np.testing.assert_array_equal, mine, theirs)


def cosine(a, b):
    a, b = np.ravel(a).astype(np.float64), np.ravel(b).astype(np.float64)
    if not a.any() and not b.any():
        return 1.0
    return a @ b / np.sqrt((a @ a) * (b @ b))


@pytest.mark.parametrize("activation", ["elu", "relu", "tanh"])
def test_convolutions_with_each_activation(activation):
    rng = np.random.default_rng(1)
    pixels = rng.integers(0, 256, (9, 24, 32, 3)).astype(np.uint8)
    scale = jnp.asarray(rng.uniform(0.01, 0.02, (24, 32, 3)), jnp.float32)
    shift = jnp.asarray(rng.uniform(-2, -1, (24, 32, 3)), jnp.float32)
    images = Pixels(pixels, scale, shift)
    layers = Layers((4, 2), activation, 1.5)
    weights = tuple(
        (
            jnp.asarray(rng.normal(0, 0.1, (k, k, i, o)), jnp.float32),
            jnp.asarray(rng.normal(0, 0.1, o), jnp.float32),
        )
        for k, i, o in ((8, 3, 16), (4, 16, 32))
    )

    def plain(w):
        x = jnp.asarray(pixels, jnp.float32) * scale[None] + shift[None]
        return convolved(rounded(jnp.clip(x, -1.5, 1.5)), w, layers)

    @jax.jit
    def run(weights, errors):
        mine, pull = jax.vjp(
            lambda w: image_encoder.image_features(images, w, layers), weights
        )
        theirs, push = jax.vjp(plain, weights)
        return (mine, pull(errors.astype(jnp.bfloat16))[0]), (theirs, push(errors)[0])

    errors = jnp.asarray(rng.normal(size=(9, 1, 2, 32)), jnp.float32)
    (mine, gradients), (theirs, expected) = run(weights, rounded(errors))
    # One unit in the last place of a bfloat16.
    np.testing.assert_allclose(mine.astype(np.float32), theirs, rtol=2**-7, atol=1e-4)
    for got, wanted in zip(
        jax.tree.leaves(gradients), jax.tree.leaves(expected), strict=True
    ):
        assert cosine(got, wanted) > 0.9999


@pytest.mark.parametrize("rows", [1, 5, 37, 600])
@pytest.mark.parametrize(("inputs", "outputs"), [(16, 16), (48, 80), (128, 256)])
def test_dense_layers_of_integers_are_exact(rows, inputs, outputs):
    rng = np.random.default_rng(2)
    x, kernel = sparse(rng, rows, inputs), integers(rng, inputs, outputs)
    bias, errors = integers(rng, outputs), sparse(rng, rows, outputs)

    @jax.jit
    def run(x, kernel, bias, errors):
        half = x.astype(jnp.bfloat16)
        sums, pull = jax.vjp(lambda *a: dense.dense(*a, "float32"), half, kernel, bias)
        relu, pull_relu = jax.vjp(
            lambda *a: dense.dense(*a, "relu"), half, kernel, bias
        )
        mine = sums, pull(errors), relu, pull_relu(errors.astype(jnp.bfloat16))

        def plain(x, kernel, bias):
            return jnp.matmul(x, kernel, precision="highest") + bias[None]

        sums, push = jax.vjp(plain, x, kernel, bias)
        relu, push_relu = jax.vjp(lambda *a: jax.nn.relu(plain(*a)), x, kernel, bias)
        return mine, (sums, push(errors), relu, push_relu(errors))

    mine, theirs = run(x, kernel, bias, errors)
    for got, wanted in zip(jax.tree.leaves(mine), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_array_equal(got.astype(np.float32), wanted)


@pytest.mark.parametrize(
    ("steps", "batch", "size"), [(1, 1, 16), (5, 3, 48), (7, 13, 32), (32, 17, 64)]
)
def test_the_recurrent_unit(steps, batch, size):
    rng = np.random.default_rng(3)

    def normal(*shape):
        return jnp.asarray(rng.normal(size=shape), jnp.float32)

    args = (
        normal(steps, batch, 3 * size), normal(batch, size),
        normal(size, 3 * size) / np.float32(np.sqrt(size)), normal(3 * size),
    )  # fmt: skip
    first = jnp.asarray(rng.random((steps, batch)) < 0.2)
    first = first.at[0, 0].set(True)
    errors = normal(steps, batch, size)

    def plain(projected, state, kernel, bias):
        def step(h, xs):
            x, is_first = xs
            h = jnp.where(is_first[:, None], 0.0, h)
            y = jnp.matmul(h, kernel, precision="highest") + bias[None]
            x, y = jnp.split(x, 3, -1), jnp.split(y, 3, -1)
            reset = jax.nn.sigmoid(x[0] + y[0])
            keep = jax.nn.sigmoid(x[1] + y[1])
            new = jnp.tanh(x[2] + reset * y[2])
            h = new + keep * (h - new)
            return h, h

        return lax.scan(step, state, (projected, first))[1]

    @jax.jit
    def run(args, errors):
        mine, pull = jax.vjp(lambda p, h, k, b: gru.gru(p, first, h, k, b), *args)
        theirs, push = jax.vjp(plain, *args)
        return (mine, pull(errors)), (theirs, push(errors))

    (mine, gradients), (theirs, expected) = run(args, errors)
    np.testing.assert_allclose(mine, theirs, atol=0.03)
    for got, wanted in zip(gradients, expected, strict=True):
        assert cosine(got, wanted) > 0.9998
    # No gradient crosses the beginning of an episode.
    assert not gradients[1][0].any()


SPEC = EnvSpec(ObservationSpec((72, 128, 3), 2), ActionSpec((3, 2)))


def network_of(precision, **changes):
    return ActorCritic(SPEC, NetworkConfig(precision=precision, **changes))


def observations(*lead):
    rng = np.random.default_rng(4)
    # Neighbors are alike, as in a game's images.
    image = np.repeat(rng.integers(0, 256, (*lead, 9, 16, 3)), 8, -3)
    image = np.repeat(image, 8, -2).astype(np.uint8)
    return {
        "image": image, "measurements": rng.normal(size=(*lead, 2)).astype(np.float32),
    }  # fmt: skip


@pytest.mark.parametrize(
    "changes",
    [
        {},
        pytest.param({"core": "lstm"}, marks=pytest.mark.slow),
        pytest.param({"core": "mingru"}, marks=pytest.mark.slow),
        pytest.param({"separate_critic": True}, marks=pytest.mark.slow),
    ],
)
def test_gradients_of_the_network_point_the_same_way(changes):
    obs = observations(8, 6)
    normalizer = init_normalizer(SPEC.observation)
    first = np.zeros((8, 6), bool)
    first[3, 2] = True
    first = jnp.asarray(first)
    one, other = network_of("float32", **changes), network_of("bfloat16", **changes)
    params = jax.jit(one.init)(jax.random.key(0))

    def loss(network, params):
        inputs = network.normalize(obs, normalizer.obs)
        carry = network.initial_carry(6)
        logits, value, _ = network.unroll(params, inputs, first, carry)
        chosen = jax.nn.log_softmax(logits[..., :3])[..., 0]
        return (chosen + value**2).sum(), (logits, value)

    got, expected = (
        jax.jit(jax.value_and_grad(lambda p, n=n: loss(n, p), has_aux=True))(params)
        for n in (other, one)
    )
    for a, b in zip(got[0][1], expected[0][1], strict=True):
        np.testing.assert_allclose(a, b, atol=0.03)
    leaves = zip(jax.tree.leaves(got[1]), jax.tree.leaves(expected[1]), strict=True)
    assert min(cosine(a, b) for a, b in leaves) > 0.999


def test_layers_that_the_kernels_do_not_support():
    network = network_of("bfloat16", conv_channels=(12, 20, 24), hidden_size=40)
    obs, normalizer = observations(2), init_normalizer(SPEC.observation)
    params = jax.jit(network.init)(jax.random.key(0))

    @jax.jit
    @jax.grad
    def gradient(params):
        inputs = network.normalize(obs, normalizer.obs)
        first, carry = jnp.zeros(2, bool), network.initial_carry(2)
        return network.apply(params, inputs, carry, first)[1].sum()

    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient(params)))


def test_acting_and_unrolling_are_the_same():
    network, obs = network_of("bfloat16"), observations(5, 4)
    normalizer = init_normalizer(SPEC.observation)
    params = jax.jit(network.init)(jax.random.key(0))
    first = np.zeros((5, 4), bool)
    first[2, 1] = True
    first = jnp.asarray(first)
    inputs = network.normalize(obs, normalizer.obs)
    logits, value, last = jax.jit(network.unroll)(
        params, inputs, first, network.initial_carry(4)
    )
    carry = network.initial_carry(4)
    for t in range(5):
        step = {name: part[t] for name, part in obs.items()}
        one = network.normalize(step, normalizer.obs)
        got = jax.jit(network.apply)(params, one, carry, first[t])
        np.testing.assert_allclose(got[0], logits[t], atol=1e-5)
        np.testing.assert_allclose(got[1], value[t], atol=1e-5)
        carry = got[2]
    np.testing.assert_allclose(carry, last, atol=1e-5)


def test_under_vmap():
    rng = np.random.default_rng(6)
    x = jnp.asarray(rng.normal(size=(3, 5, 32)), jnp.bfloat16)
    kernel, bias = jnp.asarray(rng.normal(size=(32, 16)), jnp.float32), jnp.zeros(16)
    one = lambda x: dense.dense(x, kernel, bias, "elu")  # noqa: E731
    expected = jnp.stack([one(part) for part in x])
    np.testing.assert_array_equal(jax.vmap(one)(x), expected)


def test_from_several_threads():
    rng = np.random.default_rng(5)
    x = jnp.asarray(rng.normal(size=(64, 128)), jnp.bfloat16)
    kernel = jnp.asarray(rng.normal(size=(128, 64)), jnp.float32)
    bias = jnp.zeros(64)
    run = jax.jit(jax.value_and_grad(
        lambda k: dense.dense(x, k, bias, "tanh").astype(jnp.float32).sum()
    ))  # fmt: skip
    expected = run(kernel)
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda _: run(kernel), range(64)))
    for result in results:
        jax.tree.map(np.testing.assert_array_equal, result, expected)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "bfloat16"),
        ({"core": "none"}, "bfloat16"),
        ({"core": "mingru"}, "bfloat16"),
        ({"core": "lstm"}, "float32"),
        ({"conv_channels": (4, 32, 64)}, "float32"),
        ({"hidden_size": 100}, "float32"),
        ({"core_size": 100}, "float32"),
        ({"dense_sizes": (24,)}, "float32"),
        ({"precision": "float32"}, "float32"),
        ({"core_size": 100, "precision": "bfloat16"}, "bfloat16"),
    ],
)
def test_auto_is_bfloat16_where_the_kernels_serve_every_layer(changes, expected):
    assert ActorCritic(SPEC, NetworkConfig(**changes)).precision == expected


def test_auto_is_float32_without_the_kernels(monkeypatch):
    monkeypatch.setattr(kernels, "used", lambda: False)
    assert ActorCritic(SPEC, NetworkConfig()).precision == "float32"


def test_what_has_no_bfloat16_form():
    image = EnvSpec(ObservationSpec((72, 128, 3), 0), ActionSpec((3,)))
    vector = EnvSpec(ObservationSpec(None, 4), ActionSpec((2,)))
    assert ActorCritic(vector, NetworkConfig()).precision == "float32"
    with pytest.raises(UserError, match="the observation has no image"):
        ActorCritic(vector, NetworkConfig(precision="bfloat16"))
    with pytest.raises(UserError, match="the encoder is resnet_impala"):
        ActorCritic(image, NetworkConfig(encoder="resnet_impala", precision="bfloat16"))


PROGRAM = """
import jax, jax.numpy as jnp
from jaxfactory.config.network import NetworkConfig
from jaxfactory.models.actor_critic import ActorCritic
from jaxfactory.models.bfloat16 import kernels
from jaxfactory.models.normalization import init_normalizer
from jaxfactory.spec import ActionSpec, EnvSpec, ObservationSpec

spec = EnvSpec(ObservationSpec((40, 64, 3), 0), ActionSpec((3,)))
print(kernels.instructions() or "none")
network = ActorCritic(spec, NetworkConfig(precision="bfloat16"))
params = jax.jit(network.init)(jax.random.key(0))
image = (jnp.arange(2 * 40 * 64 * 3) % 251).astype(jnp.uint8).reshape(2, 40, 64, 3)
def loss(params):
    obs = network.normalize({"image": image}, init_normalizer(spec.observation).obs)
    logits, value, _ = network.apply(
        params, obs, network.initial_carry(2), jnp.zeros(2, bool))
    return (jax.nn.log_softmax(logits)[:, 0] + value).sum()
value, gradients = jax.jit(jax.value_and_grad(loss))(params)
print(float(value), sum(float(jnp.abs(x).sum()) for x in jax.tree.leaves(gradients)))
"""


def test_another_processor_uses_xla():
    """Everything runs there, and bfloat16 computes the same."""
    outputs = []
    for most in ("AVX512BF16", "AVX512"):
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True,
            env=os.environ | {"JAXFACTORY_MAX_ISA": most},
        )  # fmt: skip
        outputs.append(done.stdout.split())
    assert [output[0] for output in outputs] == ["AVX-512-BF16", "none"]
    numbers = [[float(number) for number in output[1:]] for output in outputs]
    np.testing.assert_allclose(*numbers, rtol=0.02)
