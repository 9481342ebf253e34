"""Encoders, from observations to features: built-in ones and users' own classes."""

import dataclasses
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array

from jaxfactory._util import plugins
from jaxfactory._util.errors import UserCodeError, UserError, did_you_mean
from jaxfactory.config.train import Config, NetworkConfig
from jaxfactory.models.activations import ACTIVATIONS
from jaxfactory.models.bfloat16.image_encoder import Layers, Pixels, image_features
from jaxfactory.models.layers import Conv, Dense, OrthogonalDense
from jaxfactory.models.normalization import CLIP
from jaxfactory.models.residual import ResidualStage
from jaxfactory.types import Observation, ObservationSpec


class Encoder(nnx.Module):
    """Convolutions and dense layers for the image, a small MLP for the measurements.

    If an observation has both, their features are concatenated.
    """

    def __init__(self, spec: ObservationSpec, config: NetworkConfig, rngs: nnx.Rngs):
        self.nonlinearity = config.nonlinearity
        self.has_image = spec.image is not None
        self.has_measurements = spec.measurements > 0
        self.num_features = 0
        if self.has_image:
            self._add_dense(self._add_convolutions(spec, config, rngs), config, rngs)
        if self.has_measurements:
            sizes = (spec.measurements, *config.measurements_sizes)
            for index, (inputs, outputs) in enumerate(pairwise(sizes)):
                layer = OrthogonalDense(inputs, outputs, rngs)
                setattr(self, f"measurements_{index}", layer)
            self.num_measurement_layers = len(sizes) - 1
            self.num_features += sizes[-1]

    def _add_convolutions(
        self, spec: ObservationSpec, config: NetworkConfig, rngs: nnx.Rngs
    ) -> int:
        """Add the layers before the dense ones; return the size of their output."""
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
                    f"kernel, larger than its {height}x{width} input (height x width; "
                    f"the image is {spec.image[0]}x{spec.image[1]}); use a larger "
                    "image, or smaller --conv-kernels or --conv-strides"
                )
            # Named attributes instead of a list, because checkpoints need parameters
            # with string keys at every level.
            setattr(self, f"conv_{index}", Conv(channels, outputs, size, stride, rngs))
            height, width = (height - size) // stride + 1, (width - size) // stride + 1
            channels = outputs
        self.num_convs = len(layers)
        return height * width * channels

    def _add_dense(self, inputs: int, config: NetworkConfig, rngs: nnx.Rngs) -> None:
        self.dense = Dense(inputs, config.hidden_size, rngs)
        sizes = (config.hidden_size, *config.dense_sizes)
        for index, (before, after) in enumerate(pairwise(sizes), start=1):
            setattr(self, f"dense_{index}", Dense(before, after, rngs))
        self.num_more_dense = len(config.dense_sizes)
        self.num_features += sizes[-1]

    def _convolved(self, x: Array | Pixels) -> Array:
        """Return the last convolution's activations, ``[N, P, Q, channels]``."""
        convs = [getattr(self, f"conv_{index}") for index in range(self.num_convs)]
        if isinstance(x, Pixels):
            weights = tuple((conv.kernel[...], conv.bias[...]) for conv in convs)
            strides = tuple(conv.stride for conv in convs)
            return image_features(x, weights, Layers(strides, self.nonlinearity, CLIP))
        activation = ACTIVATIONS[self.nonlinearity]
        for conv in convs:
            x = activation(conv(x))
        return x

    def __call__(self, obs: Observation) -> Array:
        """Return features ``[N, features]`` of observations ``[N, ...]``."""
        activation = ACTIVATIONS[self.nonlinearity]
        features = []
        if self.has_image:
            x = self._convolved(obs["image"])
            x = self.dense(x.reshape(x.shape[0], -1), self.nonlinearity)
            for index in range(1, self.num_more_dense + 1):
                x = getattr(self, f"dense_{index}")(x, self.nonlinearity)
            features.append(x)
        if self.has_measurements:
            y = obs["measurements"]
            for index in range(self.num_measurement_layers):
                y = activation(getattr(self, f"measurements_{index}")(y))
            features.append(y.astype(features[0].dtype) if features else y)
        return features[0] if len(features) == 1 else jnp.concatenate(features, -1)


class ResidualEncoder(Encoder):
    """Residual stages instead of convolutions, one for each of `conv_channels`."""

    def _add_convolutions(
        self, spec: ObservationSpec, config: NetworkConfig, rngs: nnx.Rngs
    ) -> int:
        height, width, channels = spec.image
        for index, outputs in enumerate(config.conv_channels):
            stage = ResidualStage(channels, outputs, config.nonlinearity, rngs)
            setattr(self, f"stage_{index}", stage)
            height, width = (height + 1) // 2, (width + 1) // 2
            channels = outputs
        self.num_stages = len(config.conv_channels)
        return height * width * channels

    def _convolved(self, x: Array) -> Array:
        for index in range(self.num_stages):
            x = getattr(self, f"stage_{index}")(x)
        return ACTIVATIONS[self.nonlinearity](x)


# A Flax NNX class, constructed as ``Class(spec, config, rngs)`` from an
# `ObservationSpec`, a `NetworkConfig` and an `nnx.Rngs`. Instances have an attribute
# ``num_features``, F, and map normalized observations, float32 ``[N, ...]``, to
# features, float32 ``[N, F]``. Their only state may be parameters (`nnx.Param`).
EncoderClass = Callable[..., Any]

ENCODERS: dict[str, EncoderClass] = {
    "conv": Encoder,
    "resnet_impala": ResidualEncoder,
}


def find_encoder(name: str) -> EncoderClass:
    """Return the encoder class of that name, built-in or the user's own.

    Raises:
        UserError: If it cannot be imported or is no Flax NNX module.
    """
    found = ENCODERS.get(name)
    if found is not None:
        return found
    if ":" not in name:
        hint = did_you_mean(name, ENCODERS)
        raise UserError(
            f"--network {name!r} is neither a built-in encoder "
            f"({', '.join(ENCODERS)}) nor your own, given as package.module:Class or "
            f"file.py:Class{hint}"
        )
    return _checked_class(plugins.load(name, "--network"))


def _checked_class(found: Any) -> EncoderClass:
    if isinstance(found, type) and issubclass(found, nnx.Module):
        return found
    raise UserError(
        f"--network must be a class derived from flax.nnx.Module, but is {found!r}"
    )


def check_encoder(
    kind: EncoderClass, spec: ObservationSpec, config: NetworkConfig
) -> None:
    """Check a user's own encoder by tracing it with abstract observations.

    Raises:
        UserError: If it breaks the contract of `EncoderClass`.
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
                f"{what} has a {type(leaf).__name__} at {'.'.join(map(str, path))}, "
                "but its only state may be parameters: use nnx.LayerNorm instead of "
                "nnx.BatchNorm, and no nnx.Dropout"
            )
    if not isinstance(size, int):
        raise UserError(
            f"{what} needs an attribute num_features, the size of its features as an "
            f"int; it is {size!r}"
        )
    is_array = isinstance(features, jax.ShapeDtypeStruct)
    made = f"{features.dtype}{list(features.shape)}" if is_array else repr(features)
    if made != f"float32{[_TRIED, size]}":
        raise UserError(
            f"{what} returned {made} for {_TRIED} observations, but with num_features "
            f"= {size} must return float32{[_TRIED, size]}"
        )


def with_encoder(config: Config, encoder: EncoderClass | None) -> Config:
    """Return the settings with the encoder's name, valid from every directory.

    Args:
        config: All settings.
        encoder: The class; by default, the one that `config` names.

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


# Number of observations that a user's encoder is checked with.
_TRIED = 2


def _abstract_obs(spec: ObservationSpec) -> dict[str, jax.ShapeDtypeStruct]:
    """Return the shapes of normalized observations."""
    return {
        name: jax.ShapeDtypeStruct((_TRIED, *shape), jnp.float32)
        for name, shape in spec.shapes.items()
    }
