"""Encoder, recurrent core and heads of the actor-critic.

Flax NNX defines the layers, and this is the only module that knows it: outside,
parameters are plain nested dictionaries of arrays, and `ActorCritic` is a handful of
pure functions over them.
"""

import dataclasses
import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax
from jaxtyping import Array, Bool, Float, Key, PyTree

from jaxfactory import distributions, plugins
from jaxfactory.config import Config, NetworkConfig
from jaxfactory.convolution import conv2d
from jaxfactory.errors import UserCodeError, UserError, did_you_mean
from jaxfactory.types import Carry, EnvSpec, Observation, ObservationSpec, Params


def _uniform(rngs: nnx.Rngs, shape: tuple[int, ...], fan_in: int) -> nnx.Param:
    bound = 1.0 / math.sqrt(fan_in)
    return nnx.Param(
        jax.random.uniform(rngs.params(), shape, jnp.float32, -bound, bound)
    )


def _affine(x: Array, kernel: Array, bias: Array) -> Array:
    y = x @ kernel
    return y + jnp.broadcast_to(bias, y.shape)


@jax.custom_vjp
def elu(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """Return x where it is positive, else exp(x) - 1.

    The gradient is taken from the result, which is kept anyway: no second exponential.
    """
    return nnx.elu(x)


def _elu_forward(x: Array) -> tuple[Array, Array]:
    y = elu(x)
    return y, y


def _elu_backward(y: Array, dy: Array) -> tuple[Array]:
    return (jnp.where(y > 0.0, dy, dy * (y + 1.0)),)


elu.defvjp(_elu_forward, _elu_backward)

_ACTIVATIONS = {"elu": elu, "relu": nnx.relu, "tanh": jnp.tanh}


class Dense(nnx.Module):
    """Affine layer, ``[..., inputs] -> [..., outputs]``, uniform initialisation."""

    def __init__(self, inputs: int, outputs: int, rngs: nnx.Rngs):
        self.kernel = _uniform(rngs, (inputs, outputs), inputs)
        self.bias = _uniform(rngs, (outputs,), inputs)

    def __call__(self, x: Array) -> Array:
        """Return the layer's output."""
        return _affine(x, self.kernel[...], self.bias[...])


class OrthogonalDense(nnx.Module):
    """Affine layer with an orthogonal kernel of the given gain and a bias of zeros."""

    def __init__(self, inputs: int, outputs: int, rngs: nnx.Rngs, gain: float = 1.0):
        initializer = jax.nn.initializers.orthogonal(gain)
        kernel = initializer(rngs.params(), (inputs, outputs))
        self.kernel = nnx.Param(kernel)
        self.bias = nnx.Param(jnp.zeros((outputs,)))

    def __call__(self, x: Array) -> Array:
        """Return the layer's output."""
        return _affine(x, self.kernel[...], self.bias[...])


class Conv(nnx.Module):
    """Convolution without padding, ``[N, H, W, C] -> [N, P, Q, O]``."""

    def __init__(
        self, inputs: int, outputs: int, size: int, stride: int, rngs: nnx.Rngs
    ):
        fan_in = size * size * inputs
        self.kernel = _uniform(rngs, (size, size, inputs, outputs), fan_in)
        self.bias = _uniform(rngs, (outputs,), fan_in)
        self.stride = stride

    def __call__(self, x: Array) -> Array:
        """Return the layer's output."""
        y = conv2d(x, self.kernel[...], self.stride)
        return y + jnp.broadcast_to(self.bias[...], y.shape)


class Encoder(nnx.Module):
    """Convolutions and a dense layer for the image, a small MLP for the measurements.

    Of an observation that has both, the features stand side by side.
    """

    def __init__(self, spec: ObservationSpec, config: NetworkConfig, rngs: nnx.Rngs):
        self.nonlinearity = config.nonlinearity
        self.has_image = spec.image is not None
        self.has_measurements = spec.measurements > 0
        self.num_features = 0
        if self.has_image:
            self._add_convolutions(spec, config, rngs)
        if self.has_measurements:
            sizes = (spec.measurements, *config.measurements_sizes)
            for index, (inputs, outputs) in enumerate(pairwise(sizes)):
                layer = OrthogonalDense(inputs, outputs, rngs)
                setattr(self, f"measurements_{index}", layer)
            self.num_measurement_layers = len(sizes) - 1
            self.num_features += sizes[-1]

    def _add_convolutions(
        self, spec: ObservationSpec, config: NetworkConfig, rngs: nnx.Rngs
    ) -> None:
        height, width, channels = spec.image
        layers = list(
            zip(
                config.conv_channels,
                config.conv_kernels,
                config.conv_strides,
                strict=True,
            )
        )
        for index, (outputs, size, stride) in enumerate(layers):
            if min(height, width) < size:
                raise UserError(
                    f"convolution {index + 1} of {len(layers)} has a {size}x{size} "
                    f"kernel, larger than the {height}x{width} (height x width) that "
                    f"is left of the {spec.image[0]}x{spec.image[1]} image; use a "
                    "larger image, or smaller --conv-kernels or --conv-strides"
                )
            # Named attributes and not a list: the parameters' dictionary then has
            # strings for keys all the way down, as checkpoints want it.
            setattr(self, f"conv_{index}", Conv(channels, outputs, size, stride, rngs))
            height, width = (height - size) // stride + 1, (width - size) // stride + 1
            channels = outputs
        self.num_convs = len(layers)
        self.dense = Dense(height * width * channels, config.hidden_size, rngs)
        self.num_features += config.hidden_size

    def __call__(self, obs: Observation) -> Array:
        """Return features ``[N, features]`` of observations ``[N, ...]``."""
        activation = _ACTIVATIONS[self.nonlinearity]
        features = []
        if self.has_image:
            x = obs["image"]
            for index in range(self.num_convs):
                x = activation(getattr(self, f"conv_{index}")(x))
            features.append(activation(self.dense(x.reshape(x.shape[0], -1))))
        if self.has_measurements:
            y = obs["measurements"]
            for index in range(self.num_measurement_layers):
                y = activation(getattr(self, f"measurements_{index}")(y))
            features.append(y)
        return features[0] if len(features) == 1 else jnp.concatenate(features, -1)


class GRU(nnx.Module):
    """Gated recurrent unit, in the form that resets after the recurrent product.

    The gates are in the order reset, update, candidate, with
    ``n = tanh(W x + b + r * (U h + c))``, as in cuDNN and PyTorch, so that trained
    weights can be exchanged with them.
    """

    def __init__(self, inputs: int, size: int, rngs: nnx.Rngs):
        self.kernel = _uniform(rngs, (inputs, 3 * size), size)
        self.bias = _uniform(rngs, (3 * size,), size)
        self.recurrent_kernel = _uniform(rngs, (size, 3 * size), size)
        self.recurrent_bias = _uniform(rngs, (3 * size,), size)
        self.size = size

    def project(self, x: Array) -> Array:
        """Apply the input's weights, which need no carry: all steps at once."""
        return _affine(x, self.kernel[...], self.bias[...])

    def step(self, h: Array, projected: Array) -> tuple[Array, Array]:
        """Take one step, ``[B, size]`` and ``[B, 3 size] -> (carry, output)``."""
        recurrent = _affine(h, self.recurrent_kernel[...], self.recurrent_bias[...])
        x_r, x_z, x_n = jnp.split(projected, 3, axis=-1)
        h_r, h_z, h_n = jnp.split(recurrent, 3, axis=-1)
        reset = nnx.sigmoid(x_r + h_r)
        keep = nnx.sigmoid(x_z + h_z)
        candidate = jnp.tanh(x_n + reset * h_n)
        h = candidate + keep * (h - candidate)
        return h, h


class LSTM(nnx.Module):
    """Long short-term memory; gates in the order input, forget, cell, output."""

    def __init__(self, inputs: int, size: int, rngs: nnx.Rngs):
        self.kernel = _uniform(rngs, (inputs, 4 * size), size)
        self.bias = _uniform(rngs, (4 * size,), size)
        self.recurrent_kernel = _uniform(rngs, (size, 4 * size), size)
        self.recurrent_bias = _uniform(rngs, (4 * size,), size)
        self.size = size

    def project(self, x: Array) -> Array:
        """Apply the input's weights, which need no carry: all steps at once."""
        return _affine(x, self.kernel[...], self.bias[...])

    def step(self, carry: tuple[Array, Array], projected: Array) -> tuple[Carry, Array]:
        """Take one step, ``[B, size]`` twice and ``[B, 4 size] -> (carry, output)``."""
        h, c = carry
        gates = projected + _affine(
            h, self.recurrent_kernel[...], self.recurrent_bias[...]
        )
        write, keep, cell, read = jnp.split(gates, 4, axis=-1)
        c = nnx.sigmoid(keep) * c + nnx.sigmoid(write) * jnp.tanh(cell)
        h = nnx.sigmoid(read) * jnp.tanh(c)
        return (h, c), h


class NoCore(nnx.Module):
    """In place of a recurrent core: the features as they are, and an empty carry."""

    def __init__(self, inputs: int, size: int, rngs: nnx.Rngs):
        del size, rngs
        self.size = inputs

    def project(self, x: Array) -> Array:
        """Return the features."""
        return x

    def step(self, carry: Carry, projected: Array) -> tuple[Carry, Array]:
        """Return both as they are."""
        return carry, projected


_CORES = {"gru": GRU, "lstm": LSTM, "none": NoCore}


# A Flax NNX class, made as ``Class(spec, config, rngs)`` of an `ObservationSpec`, a
# `NetworkConfig` and an `nnx.Rngs`. Its objects have ``num_features``, F, and their
# call maps normalised observations, float32 ``[N, ...]``, to features, float32
# ``[N, F]``. They may hold parameters (`nnx.Param`) and no other state.
EncoderClass = Callable[..., Any]

ENCODERS: dict[str, EncoderClass] = {"conv": Encoder}


def find_encoder(name: str) -> EncoderClass:
    """Return the encoder's class of that name, ours or the user's own.

    Raises:
        UserError: If it cannot be imported or is no Flax NNX module.
    """
    found = ENCODERS.get(name)
    if found is not None:
        return found
    if ":" not in name:
        hint = did_you_mean(name, ENCODERS)
        raise UserError(
            f"--network {name!r} is no encoder of ours ({', '.join(ENCODERS)}) nor one "
            f"of your own, package.module:Class or file.py:Class{hint}"
        )
    return _checked_class(plugins.load(name, "--network"))


def _checked_class(found: Any) -> EncoderClass:
    if isinstance(found, type) and issubclass(found, nnx.Module):
        return found
    raise UserError(
        f"--network must be a class derived from flax.nnx.Module, but is {found!r}"
    )


def _check_encoder(
    kind: EncoderClass, spec: ObservationSpec, config: NetworkConfig
) -> None:
    """Try an encoder of the user's own out, on shapes alone.

    Raises:
        UserError: If it does not keep the contract of `EncoderClass`.
        UserCodeError: If it raises anything else.
    """
    if kind in ENCODERS.values():
        return
    what = f"--network {plugins.name_of(kind)!r}"
    obs = _abstract_obs(spec)
    try:
        encoder = nnx.eval_shape(lambda: kind(spec, config, nnx.Rngs(0)))
        size = getattr(encoder, "num_features", None)
        features = nnx.eval_shape(lambda module, x: module(x), encoder, obs)
    except Exception as error:
        raise UserCodeError(
            f"{what} does not work: {type(error).__name__}: {error}"
        ) from error
    for path, leaf in nnx.to_flat_state(nnx.state(encoder)):
        if not isinstance(leaf, nnx.Param):
            raise UserError(
                f"{what} keeps a {type(leaf).__name__} at {'.'.join(map(str, path))}, "
                "but may keep parameters only: take nnx.LayerNorm for nnx.BatchNorm, "
                "and no nnx.Dropout"
            )
    if not isinstance(size, int):
        raise UserError(
            f"{what} must say the size of its features in an attribute num_features, "
            f"an int; it is {size!r}"
        )
    is_array = isinstance(features, jax.ShapeDtypeStruct)
    made = f"{features.dtype}{list(features.shape)}" if is_array else repr(features)
    if made != f"float32{[_TRIED, size]}":
        raise UserError(
            f"{what} made {made} of {_TRIED} observations, but with num_features = "
            f"{size} must make float32{[_TRIED, size]}"
        )


def with_encoder(config: Config, encoder: EncoderClass | None) -> Config:
    """Record an encoder's name in the settings; those without one stay.

    Args:
        config: All settings.
        encoder: The class; by default the one that `config` names. Its name becomes one
            that can be found from every directory.

    Raises:
        UserError: If there is no encoder of that name, or it is no Flax NNX class.
    """
    name = config.network.encoder
    if encoder is not None:
        name = plugins.name_of(_checked_class(encoder))
    network = dataclasses.replace(config.network, encoder=plugins.pinned(name))
    if encoder is None:
        find_encoder(network.encoder)
    return dataclasses.replace(config, network=network)


# Observations that an encoder is tried out with.
_TRIED = 2


def _abstract_obs(spec: ObservationSpec) -> dict[str, jax.ShapeDtypeStruct]:
    """Return the shapes of normalised observations."""
    return {
        name: jax.ShapeDtypeStruct((_TRIED, *shape), jnp.float32)
        for name, shape in spec.shapes.items()
    }


class _Module(nnx.Module):
    def __init__(
        self,
        spec: EnvSpec,
        config: NetworkConfig,
        encoder: EncoderClass,
        rngs: nnx.Rngs,
    ):
        self.encoder = encoder(spec.observation, config, rngs)
        core = _CORES[config.core]
        self.core = core(self.encoder.num_features, config.core_size, rngs)
        self.nonlinearity = config.nonlinearity
        sizes = (self.core.size, *config.decoder_sizes)
        for index, (inputs, outputs) in enumerate(pairwise(sizes)):
            setattr(self, f"decoder_{index}", OrthogonalDense(inputs, outputs, rngs))
        self.num_decoder_layers = len(config.decoder_sizes)
        self.has_heads = bool(spec.action.heads)
        self.has_numbers = spec.action.continuous > 0
        size, numbers = sizes[-1], spec.action.continuous
        if self.has_heads:
            self.policy = OrthogonalDense(size, sum(spec.action.heads), rngs)
        self.value = OrthogonalDense(size, 1, rngs)
        if self.has_numbers:
            # Means near 0 at first, so that few numbers begin beyond their bounds; the
            # spread is learned and the same in every state.
            self.mean = OrthogonalDense(size, numbers, rngs, gain=0.01)
            self.log_std = nnx.Param(jnp.zeros((numbers,)))

    def heads(self, x: Array) -> tuple[Array, Array]:
        for index in range(self.num_decoder_layers):
            layer = getattr(self, f"decoder_{index}")
            x = _ACTIVATIONS[self.nonlinearity](layer(x))
        value = self.value(x)[..., 0]
        if not self.has_numbers:
            return self.policy(x), value
        mean = self.mean(x)
        parts = [mean, jnp.broadcast_to(self.log_std[...], mean.shape)]
        if self.has_heads:
            parts.insert(0, self.policy(x))
        return jnp.concatenate(parts, -1), value


class ActorCritic:
    """The actor-critic as pure functions over plain parameters.

    Attributes:
        spec: What it reads and what it decides.
        config: Its shape.
        heads: Number of choices of each action head.
        distribution: What `apply` and `unroll` return the parameters of, as "logits".
        num_parameters: Number of trained floats.

    Raises:
        UserError: If a convolution is larger than what is left of the image, or an
            encoder of the user's own does not keep the contract of `EncoderClass`.
    """

    def __init__(
        self,
        spec: EnvSpec,
        config: NetworkConfig,
        encoder: EncoderClass | None = None,
    ):
        """Build it around an encoder, by default the one that `config` names."""
        self.spec = spec
        self.config = config
        self.heads = tuple(spec.action.heads)
        self.distribution = distributions.make(spec.action)
        self._encoder = encoder or find_encoder(config.encoder)
        _check_encoder(self._encoder, spec.observation, config)
        abstract = nnx.eval_shape(lambda: self._make(nnx.Rngs(0)))
        self._graph, state = nnx.split(abstract)
        self.num_parameters = sum(math.prod(p.shape) for p in jax.tree.leaves(state))

    def init(self, key: Key[Array, ""]) -> Params:
        """Return fresh parameters, a nested dictionary with strings for keys."""
        return nnx.to_pure_dict(nnx.state(self._make(nnx.Rngs(key)), nnx.Param))

    def initial_carry(self, batch: int) -> Carry:
        """Return the carry at the start of an episode; leaves ``[batch, features]``."""
        size = self.config.core_size
        shapes = {"gru": 1, "lstm": 2, "none": 0}[self.config.core]
        leaves = tuple(jnp.zeros((batch, size), jnp.float32) for _ in range(shapes))
        return leaves[0] if shapes == 1 else leaves

    def apply(
        self,
        params: Params,
        obs: Observation,
        carry: Carry,
        is_first: Bool[Array, "B"],
    ) -> tuple[Float[Array, "B A"], Float[Array, "B"], PyTree]:
        """Take one step.

        Args:
            params: Parameters.
            obs: Normalised observations; leaves float32 ``[B, ...]``.
            carry: Recurrent state before the step; leaves ``[B, features]``.
            is_first: Where the carry is reset before it is read.

        Returns:
            ``(logits, value, carry)``; the value is in normalised units.
        """
        module = self._bind(params)
        projected = module.core.project(module.encoder(obs))
        carry, features = module.core.step(_reset(carry, is_first), projected)
        return (*module.heads(features), carry)

    def unroll(
        self,
        params: Params,
        obs: Observation,
        is_first: Bool[Array, "T B"],
        carry: Carry,
    ) -> tuple[Float[Array, "T B A"], Float[Array, "T B"], PyTree]:
        """Take T steps: encoder, input weights and heads at once, the core in a scan.

        Args:
            params: Parameters.
            obs: Normalised observations; leaves float32 ``[T, B, ...]``.
            is_first: Where the carry is reset before it is read.
            carry: Recurrent state before the first step; leaves ``[B, features]``.

        Returns:
            ``(logits, value, carry)`` with the carry after the last step.
        """
        module = self._bind(params)
        lead = is_first.shape
        flat = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), obs)
        projected = module.core.project(module.encoder(flat))
        projected = projected.reshape(*lead, -1)
        if not jax.tree.leaves(carry):
            return (*module.heads(projected), carry)

        def step(carry: Carry, xs: tuple[Array, Array]) -> tuple[Carry, Array]:
            x, first = xs
            return module.core.step(_reset(carry, first), x)

        carry, features = lax.scan(step, carry, (projected, is_first))
        return (*module.heads(features), carry)

    def _make(self, rngs: nnx.Rngs) -> _Module:
        return _Module(self.spec, self.config, self._encoder, rngs)

    def _bind(self, params: Params) -> _Module:
        return nnx.merge(self._graph, nnx.State(params))


def _reset(carry: Carry, is_first: Array) -> Carry:
    def clear(leaf: Array) -> Array:
        return jnp.where(jnp.broadcast_to(is_first[:, None], leaf.shape), 0.0, leaf)

    return jax.tree.map(clear, carry)
