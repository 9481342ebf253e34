"""What an update computes once, before its minibatches, as one program."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
from jaxtyping import Array, Float

from jaxfactory.config.ppo import PPOConfig
from jaxfactory.distributed.devices import (
    ONE_DEVICE,
    ROLLOUT,
    SAME,
    TIME_ROWS,
    Devices,
)
from jaxfactory.models.normalization import Normalizer
from jaxfactory.ppo import segments
from jaxfactory.ppo.minibatches import Minibatches, split_minibatches
from jaxfactory.ppo.schedules import Scheduled
from jaxfactory.ppo.targets import Targets, make_compute_targets
from jaxfactory.types import Metrics, Rollout


class Prepared(NamedTuple):
    """What the gradient steps of an update need besides the rollout.

    Attributes:
        targets: Advantages and value targets.
        normalizer: Statistics that include the rollout.
        metrics: Of the targets.
        minibatches: Rows of each gradient step: environments, or segments.
        env_minibatches: The same, but always environments.
        sampling_weight: Weights of samples drawn by their priority, or None.
        key: For the next update.
        step: Number of this update.
    """

    targets: Targets
    normalizer: Normalizer
    metrics: Metrics
    minibatches: Minibatches
    env_minibatches: Minibatches
    sampling_weight: Float[Array, "T B"] | None
    key: Array
    step: Array


Prepare = Callable[
    [Normalizer, Rollout, Array | None, Array, Array, Scheduled], Prepared
]


def make_prepare(
    config: PPOConfig, frame_skip: int, devices: Devices = ONE_DEVICE
) -> Prepare:
    """Return the jitted function; a second program would cost another dispatch.

    Args:
        config: Settings of the targets and the minibatches.
        frame_skip: Frames per step of the rollout.
        devices: Those that the rollout is split over; in segments, only one.
    """
    if devices.count > 1:
        return _make_prepare_split(config, frame_skip, devices)
    compute_targets = make_compute_targets(config, frame_skip)
    counts = {
        "num_epochs": config.num_epochs, "num_minibatches": config.num_minibatches
    }  # fmt: skip

    @jax.jit
    def prepare(
        normalizer: Normalizer,
        rollout: Rollout,
        proximal_log_prob: Array | None,
        key: Array,
        step: Array,
        scheduled: Scheduled,
    ) -> Prepared:
        key, shuffle_key = jax.random.split(key)
        num_envs = rollout.reward.shape[1]
        targets, normalizer, metrics = compute_targets(
            normalizer, rollout, proximal_log_prob, scheduled
        )
        weight = None
        if not config.in_segments:
            minibatches = split_minibatches(shuffle_key, num_envs, **counts)
            env_minibatches = minibatches
        else:
            shuffle_key, envs_key = jax.random.split(shuffle_key)
            env_minibatches = split_minibatches(envs_key, num_envs, **counts)
            num_rows = num_envs * config.num_segments
            if not config.prioritized_alpha:
                minibatches = split_minibatches(shuffle_key, num_rows, **counts)
            else:
                minibatches, weight, more = _prioritized(
                    shuffle_key, targets.advantage, config, scheduled
                )
                metrics |= more
        return Prepared(
            targets, normalizer, metrics, minibatches, env_minibatches, weight,
            key, step + 1,
        )  # fmt: skip

    return prepare


def _make_prepare_split(
    config: PPOConfig, frame_skip: int, devices: Devices
) -> Prepare:
    targets_of = devices.program(
        make_compute_targets(config, frame_skip, devices.over),
        (SAME, ROLLOUT, TIME_ROWS, SAME),
        (TIME_ROWS, SAME, SAME),
    )

    @partial(jax.jit, static_argnames="num_envs")
    def shuffle(
        key: Array, step: Array, *, num_envs: int
    ) -> tuple[Minibatches, Array, Array]:
        key, shuffle_key = jax.random.split(key)
        minibatches = split_minibatches(
            shuffle_key,
            num_envs,
            num_epochs=config.num_epochs,
            num_minibatches=config.num_minibatches,
        )
        return minibatches, key, step + 1

    def prepare(
        normalizer: Normalizer,
        rollout: Rollout,
        proximal_log_prob: Array | None,
        key: Array,
        step: Array,
        scheduled: Scheduled,
    ) -> Prepared:
        # The same in each process: random keys stay arrays of the process.
        minibatches, key, step = shuffle(key, step, num_envs=rollout.reward.shape[1])
        found = targets_of(normalizer, rollout, proximal_log_prob, scheduled)
        return Prepared(*found, minibatches, minibatches, None, key, step)

    return prepare


def _prioritized(
    key: Array, advantage: Array, config: PPOConfig, scheduled: Scheduled
) -> tuple[Minibatches, Array, Metrics]:
    num_steps, num_envs = advantage.shape
    probability = segments.probabilities(
        advantage, config.num_segments, config.prioritized_alpha
    )
    beta = scheduled.get("prioritized_beta", config.prioritized_beta)
    weight = segments.sampling_weights(probability, beta)
    count = config.num_epochs * config.num_minibatches
    size = probability.size // config.num_minibatches
    rows = segments.draw(key, probability, count, size)
    # The number of equally probable segments that would vary as much (Kish).
    effective = 1.0 / (probability**2).sum() / probability.size
    metrics = {"prioritized_share": effective}
    return rows, segments.per_step(weight, num_envs, num_steps), metrics
