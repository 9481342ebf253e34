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
from jaxtyping import Array, Float, Int32, Key

from jaxfactory import normalization
from jaxfactory.advantages import gae, vtrace
from jaxfactory.config import PPOConfig
from jaxfactory.losses import LossMetrics, ppo_loss
from jaxfactory.networks import ActorCritic
from jaxfactory.normalization import Normalizer
from jaxfactory.types import Batch, Params, Rollout


class TrainState(NamedTuple):
    """Everything that training goes on from.

    Attributes:
        params: The network's parameters.
        opt_state: The optimiser's state.
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


Metrics = dict[str, Array]
# Takes parameters that are ready, their normalizer, and the share of the update done.
Publish = Callable[[Params, Normalizer, float], None]
# Called with a state, a rollout and, where somebody acts meanwhile, a Publish.
Update = Callable[..., tuple[TrainState, Metrics]]


# What a decay lowers the step size to, as a share of the first, and where it begins.
_LAST_STEP_SIZE = 0.1
_DECAY_BEGINS = 0.5
# A sample that the acting policy thought unlikely counts this often at most: one that
# weighed 100 would be all that the minibatch learns from.
_MAX_WEIGHT = 2.0


def make_optimizer(config: PPOConfig) -> optax.GradientTransformation:
    """Return Adam, with a step size of 1, behind a clip of the global gradient norm.

    The update scales its result, because the step size depends on the frames that a
    run is to be trained for, and those may be changed when it is resumed.
    """
    adam = optax.adam(1.0, b1=0.9, b2=0.999, eps=config.adam_eps)
    if not config.max_grad_norm:
        return adam
    return optax.chain(optax.clip_by_global_norm(config.max_grad_norm), adam)


def step_size(config: PPOConfig, progress: float) -> float:
    """Return Adam's step size after a share of the training, from 0 to 1."""
    if config.lr_schedule == "constant":
        return config.learning_rate
    decayed = (min(progress, 1.0) - _DECAY_BEGINS) / (1.0 - _DECAY_BEGINS)
    return config.learning_rate * (1.0 - (1.0 - _LAST_STEP_SIZE) * max(decayed, 0.0))


def init_train_state(
    network: ActorCritic, config: PPOConfig, key: Key[Array, ""]
) -> TrainState:
    """Return the state before the first update.

    Args:
        network: The actor-critic.
        config: Settings of the optimiser.
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


class _Prepared(NamedTuple):
    normalizer: Normalizer
    advantage: Float[Array, "T B"]
    target: Float[Array, "T B"]
    log_prob: Float[Array, "T B"]
    weight: Float[Array, "T B"]
    step: Int32[Array, ""]
    key: Key[Array, ""]
    permutations: tuple[tuple[Int32[Array, "E"], ...], ...]
    metrics: Metrics


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

    The optimiser's state is donated: the state passed in may not be used for another
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
    prepare = _make_prepare(config)
    reevaluate = _make_reevaluate(network)
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


def _make_reevaluate(network: ActorCritic) -> Callable[..., Float[Array, "T B"]]:
    """Return a function that says how likely other parameters hold a rollout's actions.

    It runs the network over some rows at a time.
    """

    @jax.jit
    def part(params: Params, normalizer: Normalizer, rollout: Rollout) -> Array:
        steps = slice(0, rollout.reward.shape[0])
        obs = jax.tree.map(lambda x: x[steps], rollout.obs)
        obs = normalization.normalize_obs(obs, normalizer.obs)
        is_first = rollout.is_first[steps]
        logits, _, _ = network.unroll(params, obs, is_first, rollout.carry)
        return network.distribution.log_prob(logits, rollout.action)

    def reevaluate(
        params: Params, normalizer: Normalizer, rollout: Rollout, parts: int
    ) -> Float[Array, "T B"]:
        size = rollout.reward.shape[1] // parts
        found = []
        for index in range(parts):
            rows = slice(index * size, (index + 1) * size)
            found.append(part(params, normalizer, _rows(rollout, rows)))
        return jnp.concatenate(found, -1)

    return reevaluate


def _rows(rollout: Rollout, rows: slice) -> Rollout:
    """Return some environments of a rollout."""
    flat = {"carry": rollout.carry, "bootstrap_value": rollout.bootstrap_value}
    rest = rollout._replace(carry=(), bootstrap_value=())
    return jax.tree.map(lambda x: x[:, rows], rest)._replace(
        **jax.tree.map(lambda x: x[rows], flat)
    )


def _make_prepare(config: PPOConfig) -> Callable[..., _Prepared]:
    """Return the jitted first part of an update: statistics, advantages, targets."""

    @jax.jit
    def prepare(
        normalizer: Normalizer,
        rollout: Rollout,
        step: Array,
        key: Array,
        current: Array | None = None,
    ) -> _Prepared:
        key, shuffle_key = jax.random.split(key)
        obs_stats, return_stats = normalizer
        if config.normalize_obs:
            # obs[T] is the next rollout's obs[0], and counted there.
            obs = jax.tree.map(lambda x: x[:-1], rollout.obs)
            obs_stats = normalization.update_obs(obs_stats, obs)
        units = return_stats if config.normalize_returns else None
        value, advantage, returns = _estimate(rollout, current, units, config)
        target = returns
        if config.normalize_returns:
            return_stats = normalization.update(return_stats, returns, (0, 1))
            target = normalization.normalize(returns, return_stats)
        variance = jnp.maximum(returns.var(), 1e-8)
        metrics = {
            "explained_variance": 1.0 - (returns - value).var() / variance,
            "value_mean": value.mean(),
            "return_mean": returns.mean(),
            "return_std": returns.std(),
            "advantage_std": advantage.std(),
            "reward_mean": rollout.reward.mean(),
        }
        return _Prepared(
            normalizer=Normalizer(obs_stats, return_stats),
            advantage=advantage,
            target=target,
            **_proximal(rollout, current, config),
            step=step + 1,
            key=key,
            permutations=_permutations(shuffle_key, rollout.reward.shape[1], config),
            metrics=metrics,
        )

    return prepare


def _proximal(
    rollout: Rollout, current: Array | None, config: PPOConfig
) -> dict[str, Array]:
    """Return the log-probs that the clip holds on to, and importance weights."""
    if current is None or config.objective == "clipped":
        weight = jnp.ones_like(rollout.log_prob)
        return {"log_prob": rollout.log_prob, "weight": weight}
    weight = jnp.exp(current - rollout.log_prob)
    return {"log_prob": current, "weight": jnp.minimum(weight, _MAX_WEIGHT)}


def _to_reward_units(value: Array, stats: Any) -> Array:
    return value if stats is None else normalization.denormalize(value, stats)


def _estimate(
    rollout: Rollout, current: Array | None, units: Any, config: PPOConfig
) -> tuple[Array, Array, Array]:
    """Return values, advantages and value targets, in the reward's units."""
    terminated, truncated = rollout.terminated, rollout.truncated
    if not config.bootstrap_truncated:
        terminated, truncated = terminated | truncated, jnp.zeros_like(truncated)
    value = _to_reward_units(rollout.value, units)
    ends = (
        terminated,
        truncated,
        _to_reward_units(rollout.final_value, units),
        _to_reward_units(rollout.bootstrap_value, units),
    )
    weights = (config.gamma, config.gae_lambda)
    if config.advantages == "gae":
        return value, *gae(rollout.reward, value, *ends, *weights)
    assert current is not None
    log_ratio = current - rollout.log_prob
    return value, *vtrace(rollout.reward, value, log_ratio, *ends, *weights)


def _permutations(key: Array, num_envs: int, config: PPOConfig) -> Any:
    """Return environment indices int32 ``[E]``, nested by epoch and minibatch."""
    keys = jax.random.split(key, config.num_epochs)
    shuffled = [jax.random.permutation(epoch_key, num_envs) for epoch_key in keys]
    return tuple(tuple(jnp.split(p, config.num_minibatches)) for p in shuffled)


def _as_batch(rollout: Rollout, prepared: _Prepared) -> Batch:
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
