"""An encoder of the user's own: through the same door as ours."""

import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxfactory._util.errors import UserCodeError, UserError
from jaxfactory.config.train import Config, NetworkConfig
from jaxfactory.models.actor_critic import ActorCritic
from jaxfactory.models.encoders import Encoder, find_encoder, with_encoder
from jaxfactory.types import ActionSpec, EnvSpec, ObservationSpec


SPEC = EnvSpec(ObservationSpec((12, 16, 3), 2), ActionSpec((3, 2)))
CONFIG = NetworkConfig(core_size=8)


class Own(nnx.Module):
    """The image's mean color and the measurements, through a list of layers."""

    def __init__(self, spec, config, rngs):
        inputs = spec.image[2] + spec.measurements
        self.layers = nnx.List([nnx.Linear(inputs, 6, rngs=rngs)])
        self.norm = nnx.LayerNorm(6, rngs=rngs)
        self.num_features = 6

    def __call__(self, obs):
        x = jnp.concatenate([obs["image"].mean((1, 2)), obs["measurements"]], -1)
        return nnx.relu(self.norm(self.layers[0](x)))


def observations(*lead):
    keys = jax.random.split(jax.random.key(7))
    return {
        "image": jax.random.normal(keys[0], (*lead, 12, 16, 3)),
        "measurements": jax.random.normal(keys[1], (*lead, 2)),
    }


def test_it_takes_the_encoder_s_place():
    network = ActorCritic(SPEC, CONFIG, Own)
    # Linear 5*6+6 and LayerNorm 6+6; GRU (6+8)*3*8 + 2*3*8; heads 8*5+5 and 8+1.
    assert network.num_parameters == 48 + 384 + 54
    params = network.init(jax.random.key(0))
    obs, is_first = observations(4, 2), jnp.zeros((4, 2), bool)
    logits, value, _ = network.unroll(params, obs, is_first, network.initial_carry(2))
    assert logits.shape == (4, 2, 5)
    # Step by step the same.
    carry = network.initial_carry(2)
    for t in range(4):
        now = {name: leaf[t] for name, leaf in obs.items()}
        a, b, carry = network.apply(params, now, carry, is_first[t])
        np.testing.assert_allclose(a, logits[t], atol=1e-5)
        np.testing.assert_allclose(b, value[t], atol=1e-5)
    p = jax.tree.map(np.asarray, params["encoder"]["layers"][0])
    now = {name: np.asarray(leaf[0]) for name, leaf in obs.items()}
    x = np.concatenate([now["image"].mean((1, 2)), now["measurements"]], -1)
    x = x @ p["kernel"] + p["bias"]
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)
    features = jax.jit(lambda p, o: network._bind(p).encoder(o))(params, now)
    np.testing.assert_allclose(features, np.maximum(x, 0), atol=1e-4)


def test_ours_goes_through_the_same_door():
    assert find_encoder("conv") is Encoder
    config = dataclasses.replace(CONFIG, conv_kernels=(4, 2, 1), conv_strides=(2, 1, 1))
    default, given = ActorCritic(SPEC, config), ActorCritic(SPEC, config, Encoder)
    shapes = [jax.eval_shape(n.init, jax.random.key(0)) for n in (default, given)]
    assert shapes[0] == shapes[1]


def test_its_name_is_recorded():
    config = with_encoder(Config(), Own)
    # Test modules have no package; a script would be named by its file.
    assert config.network.encoder == f"{__name__}:Own"
    assert find_encoder(config.network.encoder) is Own
    assert with_encoder(config, None) == config
    assert with_encoder(Config(), None) == Config()
    with pytest.raises(UserError, match="there is no file"):
        with_encoder(Config(network=NetworkConfig(encoder="no.py:Own")), None)


class NoSize(Own):
    def __init__(self, spec, config, rngs):
        super().__init__(spec, config, rngs)
        del self.num_features


class WrongSize(Own):
    def __init__(self, spec, config, rngs):
        super().__init__(spec, config, rngs)
        self.num_features = 7


class Unflattened(Own):
    def __call__(self, obs):
        return obs["image"]


class Half(Own):
    def __call__(self, obs):
        return super().__call__(obs).astype(jnp.bfloat16)


class Dictionary(Own):
    def __call__(self, obs):
        return {"features": super().__call__(obs)}


class Dropping(Own):
    def __init__(self, spec, config, rngs):
        super().__init__(spec, config, rngs)
        self.drop = nnx.Dropout(0.1, rngs=rngs)


class Counting(Own):
    def __init__(self, spec, config, rngs):
        super().__init__(spec, config, rngs)
        self.batch_norm = nnx.BatchNorm(6, rngs=rngs)


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        (NoSize, "needs an attribute num_features"),
        (
            WrongSize,
            "returned float32[2, 6] for 2 observations, but with num_features = 7",
        ),
        (Unflattened, "returned float32[2, 12, 16, 3] for 2 observations"),
        (Half, "returned bfloat16[2, 6] for 2 observations"),
        (Dictionary, "returned {'features': "),
        (
            Dropping,
            "has a RngCount at drop.rngs.count, but its only state may be parameters",
        ),
        (Counting, "has a BatchStat at batch_norm.mean"),
    ],
)
def test_a_broken_contract_is_a_sentence(kind, sentence):
    with pytest.raises(UserError, match=re.escape(sentence)) as caught:
        ActorCritic(SPEC, CONFIG, kind)
    assert f":{kind.__name__}'" in str(caught.value)
    assert not isinstance(caught.value, UserCodeError)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("cnv", "is neither a built-in encoder (conv, resnet_impala)"),
        ("fractions:Fraction", "must be a class derived from flax.nnx.Module"),
        ("math:sqrt", "must be a class derived from flax.nnx.Module"),
        ("fractions:Own", "has no 'Own'"),
    ],
)
def test_what_is_no_encoder_is_a_sentence(name, sentence):
    with pytest.raises(UserError, match=re.escape(sentence)):
        ActorCritic(SPEC, dataclasses.replace(CONFIG, encoder=name))


def test_an_object_that_is_no_class_is_a_sentence():
    with pytest.raises(UserError, match="must be a class derived from flax"):
        with_encoder(Config(), Own(SPEC.observation, CONFIG, nnx.Rngs(0)))


class Raising(Own):
    def __call__(self, obs):
        return obs["picture"]


def test_what_it_raises_comes_with_its_traceback():
    with pytest.raises(UserCodeError, match="does not work: KeyError") as caught:
        ActorCritic(SPEC, CONFIG, Raising)
    trace = caught.value.trace()
    assert 'return obs["picture"]' in trace
    assert "encoders.py" not in trace
