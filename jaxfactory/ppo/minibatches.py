"""Minibatches of whole environments, and the gradient step on each of them."""

from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int32, Key

from jaxfactory.config.ppo import PPOConfig
from jaxfactory.distributed.devices import BATCH, ONE_DEVICE, SAME, Devices
from jaxfactory.models.actor_critic import ActorCritic
from jaxfactory.models.normalization import Normalizer
from jaxfactory.ppo import finite
from jaxfactory.ppo.losses import LossMetrics, ppo_loss
from jaxfactory.ppo.optimizer import apply_gradients, make_optimizer
from jaxfactory.ppo.schedules import UNCHANGED, Scheduled
from jaxfactory.ppo.segments import select_segments
from jaxfactory.types import Batch, Metrics, Params


# Indices int32 [E] of environments, or of segments (see `segments`), of every minibatch
# of every epoch, in order; None stands for all.
Minibatches = tuple[Int32[Array, "E"] | None, ...]


@runtime_checkable
class MinibatchStep(Protocol):
    """One gradient step, skipped where something is not finite."""

    def __call__(
        self,
        params: Params,
        opt_state: Any,
        normalizer: Normalizer,
        batch: Batch,
        envs: Int32[Array, "E"] | None,
        learning_rate: Array,
        scheduled: Scheduled = UNCHANGED,
    ) -> tuple[Params, Any, Metrics]:
        """Return parameters and optimizer state after the step, and its metrics."""


def check_minibatches(num_envs: int, num_minibatches: int) -> None:
    """Check that the environments can be split evenly.

    Raises:
        ValueError: If they cannot.
    """
    if num_envs % num_minibatches:
        raise ValueError(
            f"a rollout of {num_envs} environments cannot be split into "
            f"{num_minibatches} minibatches of whole environments; make one a "
            "multiple of the other"
        )


def split_minibatches(
    key: Key[Array, ""], num_envs: int, *, num_epochs: int, num_minibatches: int
) -> Minibatches:
    """Shuffle the environments for each epoch and split them into minibatches.

    Args:
        key: A typed key, consumed here.
        num_envs: Environments of a rollout.
        num_epochs: Passes over the rollout.
        num_minibatches: Equal parts; a single one takes all environments, unshuffled.
    """
    if num_minibatches == 1:
        return (None,) * num_epochs
    keys = jax.random.split(key, num_epochs)
    orders = [jax.random.permutation(epoch_key, num_envs) for epoch_key in keys]
    return tuple(part for order in orders for part in jnp.split(order, num_minibatches))


def make_minibatch_step(
    network: ActorCritic, config: PPOConfig, devices: Devices = ONE_DEVICE
) -> MinibatchStep:
    """Return the jitted gradient step; it donates the optimizer's state.

    Args:
        network: The actor-critic.
        config: Settings of the algorithm.
        devices: Those that the batch is split over.
    """
    optimizer = make_optimizer(config)

    def picked(batch: Batch, rows: Array | None) -> Batch:
        if not config.in_segments:
            return select(batch, rows, devices)
        if rows is None:
            num_rows = batch.advantage.shape[1] * config.num_segments
            rows = jnp.arange(num_rows, dtype=jnp.int32)
        return select_segments(batch, rows, config.segment_steps)

    def minibatch_step(
        params: Params,
        opt_state: Any,
        normalizer: Normalizer,
        batch: Batch,
        envs: Array | None,
        learning_rate: Array,
        scheduled: Scheduled = UNCHANGED,
    ) -> tuple[Params, Any, Metrics]:
        grads, metrics = jax.grad(ppo_loss, has_aux=True)(
            params,
            picked(batch, envs),
            network=network,
            normalizer=normalizer,
            config=config,
            scheduled=scheduled,
            over=devices.over,
        )
        grads, metrics = devices.over.average((grads, metrics))
        new = apply_gradients(optimizer, params, opt_state, grads, learning_rate)
        squares = [jnp.sum(leaf**2) for leaf in jax.tree.leaves(grads)]
        first = finite.first_nonfinite(metrics.loss, squares, new[0])
        params, opt_state = finite.choose(first == 0, new, (params, opt_state))
        return params, opt_state, _named(metrics, squares, first)

    if devices.count == 1:
        return jax.jit(minibatch_step, donate_argnames="opt_state")
    layouts = (SAME, SAME, SAME, BATCH, SAME, SAME, SAME)
    return devices.program(minibatch_step, layouts, SAME, donate=[1])


def select(
    batch: Batch, envs: Int32[Array, "E"] | None, devices: Devices = ONE_DEVICE
) -> Batch:
    """Return the given environments, all if None, without step T of the observations.

    Args:
        batch: All environments; ``obs`` and ``is_first`` still have T+1 steps.
        envs: Indices of environments.
        devices: Those that the batch is split over.
    """
    num_steps = batch.advantage.shape[0]
    batch = batch._replace(
        obs=jax.tree.map(lambda x: x[:num_steps], batch.obs),
        is_first=batch.is_first[:num_steps],
    )
    return batch if envs is None else devices.exchange(batch, envs)


def _named(metrics: LossMetrics, squares: list[Array], first: Array) -> Metrics:
    norm = jnp.sqrt(sum(squares))
    return {**metrics._asdict(), "grad_norm": norm, finite.FIRST: first}
