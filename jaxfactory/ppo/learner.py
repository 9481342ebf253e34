"""The training state and the update that turns a rollout into a better one.

An update is three kinds of jitted step with Python loops between them, over epochs
and minibatches. A `lax.scan` over minibatches would look tidier, but on the CPU
backend a convolution's gradient inside a scan runs 40 times slower.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Int32, Key

from jaxfactory.config.train import PPOConfig
from jaxfactory.models import normalization
from jaxfactory.models.actor_critic import ActorCritic
from jaxfactory.models.normalization import Normalizer
from jaxfactory.ppo.losses import LossMetrics, ppo_loss
from jaxfactory.ppo.optimizer import make_optimizer, step_size
from jaxfactory.ppo.targets import Prepared, make_prepare, make_reevaluate
from jaxfactory.types import Batch, Metrics, Params, Rollout


class TrainState(NamedTuple):
    """Everything that training goes on from.

    Attributes:
        params: The network's parameters.
        opt_state: The optimizer's state.
        normalizer: Statistics of observations and returns.
        step: Updates made, each from one rollout.
        frames: Frames trained on. A Python integer, counted outside of jit: int32
            would overflow after 2^31 frames, half a day at 50,000 frames/s.
        key: A typed key. A checkpoint stores ``jax.random.key_data(key)`` and
            restores with ``jax.random.wrap_key_data``.
    """

    params: Params
    opt_state: Any
    normalizer: Normalizer
    step: Int32[Array, ""]
    frames: int
    key: Key[Array, ""]


# Takes parameters that are ready, their normalizer, and the share of the update done.
Publish = Callable[[Params, Normalizer, float], None]
# Called with a state, a rollout and, where somebody acts meanwhile, a Publish.
Update = Callable[..., tuple[TrainState, Metrics]]


def init_train_state(
    network: ActorCritic, config: PPOConfig, key: Key[Array, ""]
) -> TrainState:
    """Return the state before the first update.

    Args:
        network: The actor-critic.
        config: Settings of the optimizer.
        key: A typed key, consumed here.
    """
    params_key, state_key = jax.random.split(key)
    params = jax.jit(network.init)(params_key)
    return TrainState(
        params=params,
        opt_state=make_optimizer(config).init(params),
        normalizer=normalization.init_normalizer(network.spec.observation),
        step=jnp.zeros((), jnp.int32),
        frames=0,
        key=state_key,
    )


def make_update(
    network: ActorCritic,
    config: PPOConfig,
    *,
    frame_skip: int = 1,
    total_frames: int | None = None,
    off_policy: bool = False,
) -> Update:
    """Return ``update(state, rollout, publish=None) -> (state, metrics)``.

    The update returns at once, while the device still works, and fetches nothing:
    `metrics` are device scalars. On the CPU backend the rollout's NumPy arrays may be
    read in place (https://github.com/jax-ml/jax/issues/37830), so the caller must not
    rewrite them before the returned state is ready.

    The optimizer's state is donated: the state passed in may not be used for another
    update. Its parameters and statistics are not, because a sampler on another thread
    may still be acting with them. With `publish` it is such a one that is told of the
    parameters between the steps; the device is then given one step at a time, so that
    what is computed on it for acting does not wait for the whole update.

    Args:
        network: The actor-critic.
        config: Settings of the algorithm.
        frame_skip: Frames that one step of the rollout stands for.
        total_frames: Where a schedule of the step size ends; without it, the step size
            stays as it is.
        off_policy: Rollouts come from policies that are behind, which
            `config.objective` makes up for.

    Returns:
        The update. It raises a ``ValueError`` if a rollout's environments cannot be
        split evenly into minibatches.
    """
    prepare = make_prepare(config)
    reevaluate = make_reevaluate(network)
    minibatch_step = _make_minibatch_step(network, config)
    whole_batch = config.num_minibatches == 1
    decoupled = off_policy and config.objective == "decoupled"

    steps = config.num_epochs * config.num_minibatches

    def update(
        state: TrainState, rollout: Rollout, publish: Publish | None = None
    ) -> tuple[TrainState, Metrics]:
        num_steps, num_envs = rollout.reward.shape
        _check_minibatches(num_envs, config)
        current = None
        if decoupled or config.advantages == "vtrace":
            current = reevaluate(
                state.params, state.normalizer, rollout, config.num_minibatches
            )
        prepared = prepare(state.normalizer, rollout, state.step, state.key, current)
        permutations = prepared.permutations
        chunk = _as_batch(rollout, prepared)
        params, opt_state, history = state.params, state.opt_state, []
        progress = state.frames / total_frames if total_frames else 0.0
        rate = np.float32(step_size(config, progress))
        for epoch in range(config.num_epochs):
            for index in range(config.num_minibatches):
                envs = None if whole_batch else permutations[epoch][index]
                params, opt_state, metrics = minibatch_step(
                    params, opt_state, prepared.normalizer, chunk, envs, rate
                )
                history.append(metrics)
                if publish and len(history) < steps:
                    jax.block_until_ready(params)
                    publish(params, prepared.normalizer, len(history) / steps)
        state = TrainState(
            params=params,
            opt_state=opt_state,
            normalizer=prepared.normalizer,
            step=prepared.step,
            frames=state.frames + num_steps * num_envs * frame_skip,
            key=prepared.key,
        )
        metrics = {**_mean_metrics(tuple(history)), **prepared.metrics}
        return state, {**metrics, "learning_rate": rate}

    return update


def _check_minibatches(num_envs: int, config: PPOConfig) -> None:
    if num_envs % config.num_minibatches:
        raise ValueError(
            f"a rollout of {num_envs} environments cannot be split into "
            f"{config.num_minibatches} minibatches of whole environments; make one a "
            "multiple of the other"
        )


def _as_batch(rollout: Rollout, prepared: Prepared) -> Batch:
    # The observations keep their step T here: it is cut off inside the jitted step,
    # where cutting is free.
    return Batch(
        obs=rollout.obs,
        is_first=rollout.is_first,
        action=rollout.action,
        log_prob=prepared.log_prob,
        value=rollout.value,
        weight=prepared.weight,
        advantage=prepared.advantage,
        target=prepared.target,
        carry=rollout.carry,
    )


def _select(chunk: Batch, envs: Array | None) -> Batch:
    """Cut off step T, and keep the given environments, all if None."""
    num_steps = chunk.advantage.shape[0]
    chunk = chunk._replace(
        obs=jax.tree.map(lambda x: x[:num_steps], chunk.obs),
        is_first=chunk.is_first[:num_steps],
    )
    if envs is None:
        return chunk
    carry = jax.tree.map(lambda x: x[envs], chunk.carry)
    rest = jax.tree.map(lambda x: x[:, envs], chunk._replace(carry=()))
    return rest._replace(carry=carry)


def _make_minibatch_step(network: ActorCritic, config: PPOConfig) -> Callable[..., Any]:
    optimizer = make_optimizer(config)

    def minibatch_step(
        params: Params,
        opt_state: Any,
        normalizer: Normalizer,
        chunk: Batch,
        envs: Array | None,
        rate: Any,
    ) -> tuple[Params, Any, Metrics]:
        batch = _select(chunk, envs)
        grads, metrics = jax.grad(ppo_loss, has_aux=True)(
            params, batch, network=network, normalizer=normalizer, config=config
        )
        # optax raises a float to an integer power, which strict promotion forbids.
        with jax.numpy_dtype_promotion("standard"):
            updates, opt_state = optimizer.update(grads, opt_state, params)
        updates = jax.tree.map(lambda update: rate * update, updates)
        params = optax.apply_updates(params, updates)
        return params, opt_state, _named(metrics, grads)

    return jax.jit(minibatch_step, donate_argnames="opt_state")


def _named(metrics: LossMetrics, grads: Params) -> Metrics:
    squares = [jnp.sum(leaf**2) for leaf in jax.tree.leaves(grads)]
    return {**metrics._asdict(), "grad_norm": jnp.sqrt(sum(squares))}


@jax.jit
def _mean_metrics(history: tuple[Metrics, ...]) -> Metrics:
    return jax.tree.map(lambda *values: jnp.stack(values).mean(), *history)
