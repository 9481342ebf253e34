"""A tower of the network: encoder, core and decoder; and the variables' encoder."""

from itertools import pairwise
from typing import Any, NamedTuple

import jax.numpy as jnp
from flax import nnx
from jax import lax
from jaxtyping import Array, Float

from jaxfactory.config.train import NetworkConfig
from jaxfactory.models.activations import ACTIVATIONS
from jaxfactory.models.bfloat16.image_encoder import Pixels
from jaxfactory.models.cores import CORES, reset, scan
from jaxfactory.models.encoders import EncoderClass
from jaxfactory.models.layers import OrthogonalDense
from jaxfactory.types import Carry, EnvSpec, Observation


_EPS = 1e-5


class Plan(NamedTuple):
    """Everything that determines the layers."""

    spec: EnvSpec
    config: NetworkConfig
    encoder: EncoderClass


class Tower(nnx.Module):
    """Encoder, core and decoder: from observations to the input of the heads."""

    def __init__(self, plan: Plan, rngs: nnx.Rngs):
        spec, config, encoder = plan
        self.encoder = encoder(spec.observation, config, rngs)
        core = CORES[config.core]
        self.core = core(self.encoder.num_features, config.core_size, rngs)
        for index in range(1, config.core_layers):
            layer = core(config.core_size, config.core_size, rngs)
            setattr(self, f"core_{index}", layer)
        self.num_core_layers = config.core_layers
        self.nonlinearity = config.nonlinearity
        self.feature_norm = config.feature_norm
        self.core_skip = config.core_skip
        skipping = self.encoder.num_features if self.core_skip else 0
        sizes = (self.core.size + skipping, *config.decoder_sizes)
        for index, (inputs, outputs) in enumerate(pairwise(sizes)):
            setattr(self, f"decoder_{index}", OrthogonalDense(inputs, outputs, rngs))
        self.num_decoder_layers = len(config.decoder_sizes)
        self.num_features = sizes[-1]

    def step(
        self, obs: Observation, is_first: Array, carry: Carry
    ) -> tuple[Array, Carry]:
        """Take one step, ``[B, ...] -> [B, features]``, after resetting the carry."""
        features = x = self._encode(obs)
        half = x.dtype == jnp.bfloat16
        carries = []
        for core, before in zip(self._cores(), self._split(carry), strict=True):
            projected = core.project(x)
            if core.unrolls(half):
                # As in `unroll`: it rounds alike.
                _, x = core.unroll(before, projected[None], is_first[None])
                after = x = x[0]
            else:
                after, x = core.step(reset(before, is_first), projected)
            carries.append(after)
        return self._decode(x, features), self._joined(carries)

    def unroll(
        self, obs: Observation, is_first: Array, carry: Carry
    ) -> tuple[Array, Carry]:
        """Take T steps, ``[T, B, ...] -> [T, B, features]``."""
        lead = is_first.shape
        x = self._encode({name: merged(part) for name, part in obs.items()})
        features = x.reshape(*lead, -1)
        half = x.dtype == jnp.bfloat16
        carries = []
        for core, before in zip(self._cores(), self._split(carry), strict=True):
            projected = core.project(x).reshape(*lead, -1)
            after, x = scan(core, before, projected, is_first, half)
            carries.append(after)
        return self._decode(x, features), self._joined(carries)

    def _encode(self, obs: Observation) -> Array:
        features = self.encoder(obs)
        return _normalized(features) if self.feature_norm else features

    def _cores(self) -> list[Any]:
        more = range(1, self.num_core_layers)
        return [self.core, *(getattr(self, f"core_{index}") for index in more)]

    # The carry of a single layer is not wrapped in a tuple.
    def _split(self, carry: Carry) -> Carry:
        return (carry,) if self.num_core_layers == 1 else carry

    def _joined(self, carries: list[Carry]) -> Carry:
        return carries[0] if self.num_core_layers == 1 else tuple(carries)

    def _decode(self, x: Array, features: Array) -> Array:
        if self.core_skip:
            x = jnp.concatenate([x, features.astype(x.dtype)], -1)
        for index in range(self.num_decoder_layers):
            layer = getattr(self, f"decoder_{index}")
            x = ACTIVATIONS[self.nonlinearity](layer(x))
        return x


class VariablesEncoder(nnx.Module):
    """Dense layers over the critic's features and the game variables.

    They see both, because what an observation is worth depends on the variables: a
    medikit in view is worth more when health is low. The features also go past them
    unchanged.

    The pool has no variables of an episode's first observation yet: its slab still
    has those of the episode that ended. There, and wherever one is not a number, the
    variables are zeros and one more input is 1 that is 0 elsewhere.
    """

    def __init__(
        self, features: int, variables: int, sizes: tuple[int, ...], rngs: nnx.Rngs
    ):
        self.size = variables
        inputs = features + variables + 1
        for index, (before, after) in enumerate(pairwise((inputs, *sizes))):
            setattr(self, f"layer_{index}", OrthogonalDense(before, after, rngs))
        self.num_layers = len(sizes)

    def __call__(
        self, features: Array, variables: Array | None, is_first: Array
    ) -> Array:
        """Return the input of the value head, ``[..., features + sizes[-1]]``.

        Args:
            features: The critic's, ``[..., features]``.
            variables: Normalized, float32 ``[..., V]``; None if they are unknown.
            is_first: Where an episode begins, bool ``[...]``.
        """
        features = features.astype(jnp.float32)
        if variables is None:
            variables = jnp.full((*is_first.shape, self.size), jnp.nan)
        unknown = is_first | ~jnp.isfinite(variables).all(-1)
        masked = jnp.broadcast_to(unknown[..., None], variables.shape)
        known = jnp.where(masked, 0.0, variables)
        flag = unknown[..., None].astype(jnp.float32)
        x = jnp.concatenate([features, known, flag], -1)
        for index in range(self.num_layers):
            x = ACTIVATIONS["elu"](getattr(self, f"layer_{index}")(x))
        return jnp.concatenate([features, x], -1)


def _normalized(features: Float[Array, "N F"]) -> Float[Array, "N F"]:
    """Shift each observation's features to mean 0 and scale them to variance 1."""
    x = features.astype(jnp.float32)
    x = x - x.mean(-1, keepdims=True)
    x = x * lax.rsqrt(jnp.square(x).mean(-1, keepdims=True) + _EPS)
    return x.astype(features.dtype)


def merged(part: Array | Pixels) -> Array | Pixels:
    """Merge the axes of steps and environments."""
    if isinstance(part, Pixels):
        return part._replace(values=merged(part.values))
    return part.reshape(-1, *part.shape[2:])
