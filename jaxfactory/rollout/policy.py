"""The jitted policy and value function that act at every step.

They take observations as the pool made them (uint8 images, raw measurements) and
normalize inside. On the CPU backend a NumPy array given to a jitted function may be
aliased and not copied (https://github.com/jax-ml/jax/issues/37830): leave an
observation alone until what was computed from it has been fetched.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jaxtyping import Array, Bool, Key

from jaxfactory.distributed.devices import ONE_DEVICE, ROWS, SAME, Devices
from jaxfactory.models.actor_critic import ActorCritic
from jaxfactory.models.normalization import Normalizer
from jaxfactory.types import Carry, Observation, Params


Act = Callable[..., Any]


class Policy(NamedTuple):
    """What acting needs of a training state.

    Attributes:
        version: Updates that the parameters have had; fractional in the middle of an
            update.
    """

    params: Params
    normalizer: Normalizer
    version: float


def make_act(
    network: ActorCritic,
    *,
    deterministic: bool = False,
    devices: Devices = ONE_DEVICE,
) -> Act:
    """Return the jitted policy.

    Args:
        network: The actor-critic.
        deterministic: Take the most probable action of each head instead of sampling.
        devices: Those that the rows of a group are split over.

    Returns:
        ``act(params, normalizer, obs, carry, is_first, key, count) -> (action,
        log_prob, value, carry)`` with action ``[B, A]`` (int32 indices of the heads, or
        float32 if there are continuous actions), log_prob and (normalized) value
        float32 ``[B]``. Use each (key, count) once: folding in the count here saves
        the caller a dispatch per key. A deterministic policy takes both too and ignores
        them.
    """

    def sample(key: Array, logits: Array) -> Array:
        return devices.sample(network.distribution.sample, key, logits)

    def best(key: Array, logits: Array) -> Array:
        del key
        return network.distribution.mode(logits)

    choose = best if deterministic else sample

    def act(
        params: Params,
        normalizer: Normalizer,
        obs: Observation,
        carry: Carry,
        is_first: Bool[Array, "B"],
        key: Key[Array, ""],
        count: Any = 0,
    ) -> tuple[Array, Array, Array, Carry]:
        inputs = network.normalize(obs, normalizer.obs)
        logits, value, carry = network.apply(params, inputs, carry, is_first)
        action = choose(jax.random.fold_in(key, count), logits)
        log_prob = network.distribution.log_prob(logits, action)
        return action, log_prob, value, carry

    inputs = (SAME, SAME, ROWS, ROWS, ROWS, SAME, SAME)
    return devices.acting(act, inputs, ROWS)


def make_value(network: ActorCritic, devices: Devices = ONE_DEVICE) -> Act:
    """Return the jitted value function, for final and bootstrap observations.

    Args:
        network: The actor-critic.
        devices: Those that the rows of a group are split over.

    Returns:
        ``value(params, normalizer, obs, carry, is_first) -> value``, float32 ``[B]``,
        normalized. For a final observation pass the carry that `act` returned at that
        step and ``is_first`` false; for ``obs[T]`` pass ``is_first[T]``.
    """

    def value(
        params: Params,
        normalizer: Normalizer,
        obs: Observation,
        carry: Carry,
        is_first: Bool[Array, "B"],
    ) -> Array:
        inputs = network.normalize(obs, normalizer.obs)
        return network.apply(params, inputs, carry, is_first)[1]

    return devices.acting(value, (SAME, SAME, ROWS, ROWS, ROWS), ROWS)
