"""The actor-critic network: encoder, recurrent core, action and value heads.

Flax NNX defines the layers, but is used in this package only: elsewhere, parameters are
nested dictionaries of arrays, and `ActorCritic` offers pure functions of them.
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Key, PyTree

from jaxfactory._util.errors import UserError
from jaxfactory.config.train import NetworkConfig
from jaxfactory.models import distributions, normalization, precision
from jaxfactory.models.bfloat16.image_encoder import Pixels
from jaxfactory.models.encoders import EncoderClass as EncoderClass
from jaxfactory.models.encoders import check_encoder, find_encoder
from jaxfactory.models.encoders import with_encoder as with_encoder
from jaxfactory.models.layers import OrthogonalDense, with_gain
from jaxfactory.models.normalization import (
    VARIABLES,
    Normalizer,
    RunningStats,
    normalize_obs,
    scale_and_shift,
)
from jaxfactory.models.tower import Plan, Tower, VariablesEncoder, merged
from jaxfactory.types import Carry, EnvSpec, Observation, Params


class _Network(Tower):
    """The policy's tower with all heads, and the tower of a separate critic."""

    def __init__(self, plan: Plan, rngs: nnx.Rngs):
        super().__init__(plan, rngs)
        spec = plan.spec
        self.has_heads = bool(spec.action.heads)
        self.has_numbers = spec.action.continuous > 0
        size, numbers = self.num_features, spec.action.continuous
        if self.has_heads:
            gain = plan.config.policy_gain
            self.policy = OrthogonalDense(size, sum(spec.action.heads), rngs, gain)
        self.sees_variables = plan.config.critic_sees == "variables"
        if self.sees_variables:
            sizes = plan.config.measurements_sizes
            self.variables = VariablesEncoder(size, spec.variables, sizes, rngs)
            size += sizes[-1]
        self.value = OrthogonalDense(size, 1, rngs)
        if self.has_numbers:
            # The small gain keeps initial means near 0, so that few samples exceed
            # their bounds. The standard deviations do not depend on the observation.
            self.mean = OrthogonalDense(self.num_features, numbers, rngs, gain=0.01)
            self.log_std = nnx.Param(jnp.zeros((numbers,)))
        self.has_critic = plan.config.separate_critic
        if self.has_critic:
            self.critic = Tower(plan, rngs)

    def answer(
        self,
        run: Callable[..., tuple[Array, Carry]],
        obs: Observation,
        is_first: Array,
        carry: Carry,
    ) -> tuple[Array, Array, Carry]:
        """Return ``(logits, value, carry)``; `run` is a method of `Tower`."""
        # No encoder may see the variables, not even a user's own.
        variables = obs.get(VARIABLES)
        obs = {name: part for name, part in obs.items() if name != VARIABLES}
        if not self.has_critic:
            features, carry = run(self, obs, is_first, carry)
            critic_features = features
        else:
            features, actor_carry = run(self, obs, is_first, carry[0])
            critic_features, critic_carry = run(self.critic, obs, is_first, carry[1])
            carry = (actor_carry, critic_carry)
        if self.sees_variables:
            critic_features = self.variables(critic_features, variables, is_first)
        return (*self.heads(features, critic_features), carry)

    def heads(self, x: Array, critic_x: Array) -> tuple[Array, Array]:
        """Return logits from the policy's features, values from the critic's."""
        value = self.value(critic_x)[..., 0]
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
        spec: Observations and actions.
        config: Architecture.
        distribution: The action distribution; the "logits" of `apply` and `unroll` are
            its parameters.
        num_parameters: Number of trained floats.
        num_variables: Number of game variables that the value function sees, 0 if it
            sees none.
        precision: Type of the products' factors, "float32" or "bfloat16".

    Raises:
        UserError: If a convolution's kernel is larger than its input, or a user's own
            encoder breaks the contract of `EncoderClass`.
    """

    def __init__(
        self,
        spec: EnvSpec,
        config: NetworkConfig,
        encoder: EncoderClass | None = None,
    ):
        """Build the network; the encoder is by default the one that `config` names."""
        self.spec = spec
        self.config = config
        self.distribution = distributions.make(spec.action)
        encoder = encoder or find_encoder(config.encoder)
        check_encoder(encoder, spec.observation, config)
        sees = config.critic_sees == "variables"
        if sees and not spec.variables:
            raise UserError(
                "--critic-sees variables needs game variables, and this environment "
                "reports none (Doom's do if available_game_variables in the .cfg file "
                "lists any); leave it out"
            )
        self.num_variables = spec.variables if sees else 0
        self._plan = Plan(spec, config, encoder)
        abstract = nnx.eval_shape(lambda: _Network(self._plan, nnx.Rngs(0)))
        self._graph, state = nnx.split(abstract)
        self.precision = precision.resolve(spec.observation, config, encoder)
        self.num_parameters = sum(math.prod(p.shape) for p in jax.tree.leaves(state))

    def init(self, key: Key[Array, ""]) -> Params:
        """Return fresh parameters, a nested dictionary with string keys."""
        network = _Network(self._plan, nnx.Rngs(key))
        params = nnx.to_pure_dict(nnx.state(network, nnx.Param))
        return with_gain(params, self.config.init_gain)

    def initial_carry(self, batch: int) -> Carry:
        """Return the carry at the start of an episode; leaves ``[batch, features]``."""
        config = self.config
        shapes = {"gru": 1, "mingru": 1, "lstm": 2, "none": 0}[config.core]

        def layer() -> Carry:
            zeros = (batch, config.core_size)
            leaves = tuple(jnp.zeros(zeros, jnp.float32) for _ in range(shapes))
            return leaves[0] if shapes == 1 else leaves

        def tower() -> Carry:
            layers = tuple(layer() for _ in range(config.core_layers))
            return layers[0] if config.core_layers == 1 else layers

        return (tower(), tower()) if config.separate_critic else tower()

    def init_normalizer(self) -> Normalizer:
        """Return fresh statistics of everything that is normalized."""
        return normalization.init_normalizer(self.spec.observation, self.num_variables)

    def normalize(
        self, obs: Observation, stats: dict[str, RunningStats]
    ) -> Observation:
        """Normalize raw observations with their statistics.

        The game variables may be missing: a policy acts without them.

        Returns:
            float32 leaves; of bfloat16 networks, `Pixels` that the first layer
            normalizes.
        """
        if VARIABLES not in obs:
            stats = {name: part for name, part in stats.items() if name != VARIABLES}
        if self.precision == "float32":
            return normalize_obs(obs, stats)
        rest = {name: part for name, part in stats.items() if name != "image"}
        scale, shift = scale_and_shift(stats["image"], pixels=True)
        pixels = Pixels(jnp.asarray(obs["image"]), scale, shift)
        return {"image": pixels, **normalize_obs(obs, rest)}

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
            obs: What `normalize` returns; leaves ``[B, ...]``.
            carry: Recurrent state before the step; leaves ``[B, features]``.
            is_first: Where an episode begins; the carry is reset there first.

        Returns:
            ``(logits, value, carry)``; the value is in normalized units. Without the
            game variables that it sees in training, it says nothing.
        """
        return self._bind(params).answer(Tower.step, obs, is_first, carry)

    def unroll(
        self,
        params: Params,
        obs: Observation,
        is_first: Bool[Array, "T B"],
        carry: Carry,
    ) -> tuple[Float[Array, "T B A"], Float[Array, "T B"], PyTree]:
        """Take T steps; only the core's recurrence runs in a scan over them.

        Args:
            params: Parameters.
            obs: What `normalize` returns; leaves ``[T, B, ...]``.
            is_first: Where an episode begins; the carry is reset there first.
            carry: Recurrent state before the first step; leaves ``[B, features]``.

        Returns:
            ``(logits, value, carry)`` with the carry after the last step.
        """
        return self._bind(params).answer(Tower.unroll, obs, is_first, carry)

    def encode(self, params: Params, obs: Observation) -> Float[Array, "T B features"]:
        """Return the features of the policy's encoder, which depend on one step alone.

        Args:
            params: Parameters.
            obs: What `normalize` returns; leaves ``[T, B, ...]``.
        """
        lead = jax.tree.leaves(obs)[0].shape[:2]
        flat = {name: merged(part) for name, part in obs.items() if name != VARIABLES}
        features = self._bind(params).encoder(flat)
        return features.reshape(*lead, -1).astype(jnp.float32)

    def _bind(self, params: Params) -> _Network:
        return nnx.merge(self._graph, nnx.State(params))
