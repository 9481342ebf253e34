"""The actor-critic: encoder, recurrent core and heads.

Flax NNX defines the layers, and only this module, `layers`, `cores` and `encoders` know
it: outside, parameters are plain nested dictionaries of arrays, and `ActorCritic` is a
handful of pure functions over them.
"""

import math
from itertools import pairwise

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax
from jaxtyping import Array, Bool, Float, Key, PyTree

from jaxfactory import distributions
from jaxfactory.config import NetworkConfig
from jaxfactory.cores import CORES
from jaxfactory.encoders import EncoderClass as EncoderClass
from jaxfactory.encoders import check_encoder, find_encoder
from jaxfactory.encoders import with_encoder as with_encoder
from jaxfactory.layers import ACTIVATIONS, OrthogonalDense
from jaxfactory.types import Carry, EnvSpec, Observation, Params


class _Module(nnx.Module):
    def __init__(
        self,
        spec: EnvSpec,
        config: NetworkConfig,
        encoder: EncoderClass,
        rngs: nnx.Rngs,
    ):
        self.encoder = encoder(spec.observation, config, rngs)
        core = CORES[config.core]
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
            x = ACTIVATIONS[self.nonlinearity](layer(x))
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
        check_encoder(self._encoder, spec.observation, config)
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
