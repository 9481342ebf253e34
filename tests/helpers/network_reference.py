"""A small network, and the same in NumPy."""

import dataclasses

import jax
import numpy as np

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
CORES = ("gru", "mingru", "lstm", "none")


def make(core, **changes):
    network = ActorCritic(SPEC, dataclasses.replace(SMALL, core=core, **changes))
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


def numpy_mingru(p, x, h):
    gate, candidate = np.split(x @ p["kernel"] + p["bias"], 2, axis=-1)
    return h + sigmoid(gate) * (np.tanh(candidate) - h)


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
