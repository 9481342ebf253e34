"""Random network distillation (RND): a bonus for observations unlike any so far.

Burda et al., "Exploration by Random Network Distillation" (arXiv:1810.12894). A
predictor is trained to compute the same features as a fixed network with random
weights. Its squared error is small for what it was trained on, and large for what is
new.
"""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

from jaxfactory._util.errors import UserError
from jaxfactory.config.network import NetworkConfig
from jaxfactory.models.actor_critic import ActorCritic
from jaxfactory.models.normalization import RunningStats, normalize_obs
from jaxfactory.spec import ActionSpec, EnvSpec, ObservationSpec
from jaxfactory.types import Observation, Params


# Outputs of both networks.
FEATURES = 128
# Keeps the size of activations from layer to layer; with the policy's own smaller
# weights, the features of all images would be nearly the same.
_GAIN = 2.45


class Distillation:
    """The fixed network and its predictor, as pure functions over plain parameters.

    Both have the convolutions of the policy, and an own dense layer; the predictor has
    another one. Neither is recurrent. They see every other pixel of an image in both
    directions, if the convolutions fit: at full size, they would cost as much as the
    policy's update.
    """

    def __init__(self, spec: ObservationSpec, config: NetworkConfig):
        """Take the sizes of convolutions and dense layers from the policy's settings.

        Raises:
            UserError: If a convolution's kernel is larger than its input.
        """
        small = _small(config)
        try:
            self._stride = 2
            self._target = _network(spec, small, self._stride)
        except UserError:  # Too few pixels for the kernels.
            self._stride = 1
            self._target = _network(spec, small, self._stride)
        deeper = dataclasses.replace(small, decoder_sizes=(small.hidden_size,))
        self._predictor = _network(spec, deeper, self._stride)

    def init(self, key: Key[Array, ""]) -> tuple[Params, Params]:
        """Return the parameters of the predictor and of the fixed network."""
        one, other = jax.random.split(key)
        return self._predictor.init(one), self._target.init(other)

    def normalize(
        self, obs: Observation, stats: dict[str, RunningStats]
    ) -> Observation:
        """Return what the networks see of raw observations.

        Args:
            obs: Leaves ``[T, B, ...]``.
            stats: Statistics to normalize them with.
        """
        if "image" in stats:
            every = slice(None, None, self._stride)
            mean, var, count = stats["image"]
            thinned = RunningStats(mean[every, every], var[every, every], count)
            stats = {**stats, "image": thinned}
            obs = {**obs, "image": jnp.asarray(obs["image"])[:, :, every, every]}
        return normalize_obs(obs, stats)

    def target(self, params: Params, obs: Observation) -> Float[Array, "T B F"]:
        """Return the fixed network's features.

        Args:
            params: Its parameters.
            obs: What `normalize` returns.
        """
        return _outputs(self._target, params, obs)

    def error(
        self, params: Params, obs: Observation, target: Float[Array, "T B F"]
    ) -> Float[Array, "T B"]:
        """Return the predictor's mean squared error for each observation.

        Args:
            params: The predictor's parameters.
            obs: What `normalize` returns.
            target: The fixed network's features of them.
        """
        predicted = _outputs(self._predictor, params, obs)
        return jnp.square(predicted - target).mean(-1)


def _network(spec: ObservationSpec, config: NetworkConfig, stride: int) -> ActorCritic:
    if spec.image is not None:
        height, width, channels = spec.image
        image = (-(-height // stride), -(-width // stride), channels)
        spec = spec._replace(image=image)
    # The "logits" of one head are the features.
    return ActorCritic(EnvSpec(spec, ActionSpec(heads=(FEATURES,))), config)


def _outputs(network: ActorCritic, params: Params, obs: Observation) -> Array:
    never: Bool[Array, "T B"] = jnp.zeros(jax.tree.leaves(obs)[0].shape[:2], bool)
    return network.unroll(params, obs, never, ())[0]


def _small(config: NetworkConfig) -> NetworkConfig:
    """Return the settings of a feed-forward network of the built-in kind."""
    sizes = config if config.encoder == "conv" else NetworkConfig()
    return NetworkConfig(
        conv_channels=sizes.conv_channels,
        conv_kernels=sizes.conv_kernels,
        conv_strides=sizes.conv_strides,
        hidden_size=config.hidden_size,
        measurements_sizes=config.measurements_sizes,
        nonlinearity=config.nonlinearity,
        core="none",
        init_gain=_GAIN,
        precision="float32",
    )
