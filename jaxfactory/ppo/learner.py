"""The training state, and the PPO update that improves it with a rollout.

An update runs in three phases: re-evaluate the rollout's actions (only where they come
from an older policy), compute the targets, and take a gradient step for each minibatch
of each epoch. The phases are jitted; the loop over minibatches is Python, because on
the CPU backend a convolution's gradient inside a `lax.scan` runs 40 times slower.
"""

from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int32, Key

from jaxfactory.config.ppo import PPOConfig
from jaxfactory.distributed.devices import ONE_DEVICE, Devices
from jaxfactory.models.actor_critic import ActorCritic
from jaxfactory.models.normalization import Normalizer
from jaxfactory.ppo import finite
from jaxfactory.ppo.bonus.exploration import Exploration
from jaxfactory.ppo.minibatches import check_minibatches, make_minibatch_step
from jaxfactory.ppo.optimizer import (
    adapted,
    last_learning_rate,
    learning_rate_at,
    make_optimizer,
    with_learning_rate,
)
from jaxfactory.ppo.prepare import make_prepare
from jaxfactory.ppo.schedules import on_device
from jaxfactory.ppo.segments import make_refresh, stacked_carry
from jaxfactory.ppo.targets import Targets, make_reevaluate
from jaxfactory.types import Batch, Metrics, Params, Rollout


class TrainState(NamedTuple):
    """Everything needed to resume a training run.

    Attributes:
        params: The network's parameters.
        opt_state: The optimizer's state.
        normalizer: Statistics of observations and returns.
        step: Number of updates, each from one rollout.
        frames: Frames trained on. A Python integer, counted outside of jit: int32
            would overflow after 2^31 frames, half a day at 50,000 frames/s.
        key: A typed key. A checkpoint stores ``jax.random.key_data(key)`` and
            restores with ``jax.random.wrap_key_data``.
        bonus: State of the exploration bonuses, a `BonusState`; () without any.
    """

    params: Params
    opt_state: Any
    normalizer: Normalizer
    step: Int32[Array, ""]
    frames: int
    key: Key[Array, ""]
    bonus: Any = ()


@runtime_checkable
class Publish(Protocol):
    """Receives the parameters after each minibatch but the last."""

    def __call__(self, params: Params, normalizer: Normalizer, progress: float) -> None:
        """Take over computed parameters; `progress` is the share of the update done."""


@runtime_checkable
class Update(Protocol):
    """One PPO update; see `make_update`."""

    def __call__(
        self,
        state: TrainState,
        rollout: Rollout,
        publish: Publish | None = None,
        own: PPOConfig | None = None,
    ) -> tuple[TrainState, Metrics]:
        """Return the state after the update, and the update's metrics.

        Among them is `finite.FIRST`, which is no metric to be shown. With `own`, the
        learning rate and the settings in `TRACED` are those, with the same programs.
        """


def init_train_state(
    network: ActorCritic,
    config: PPOConfig,
    key: Key[Array, ""],
    bonus: Exploration | None = None,
) -> TrainState:
    """Return the state before the first update.

    Args:
        network: The actor-critic.
        config: Settings of the optimizer.
        key: A typed key, consumed here.
        bonus: The exploration bonuses, if there are any.
    """

    # One program, which is compiled once for all later runs; operations outside of a
    # program take longer to prepare than the rest of the initialization.
    @jax.jit
    def init(key: Key[Array, ""]) -> TrainState:
        params_key, state_key = jax.random.split(key)
        params = network.init(params_key)
        return TrainState(
            params=params,
            opt_state=make_optimizer(config).init(params),
            normalizer=network.init_normalizer(),
            step=jnp.zeros((), jnp.int32),
            frames=0,
            key=state_key,
            # 0 and 1 are the keys that this one is split into, 2 is the sampler's.
            bonus=bonus.init(jax.random.fold_in(key, 3), params) if bonus else (),
        )

    return init(key)._replace(frames=0)


def make_update(
    network: ActorCritic,
    config: PPOConfig,
    *,
    frame_skip: int = 1,
    total_frames: int | None = None,
    off_policy: bool = False,
    bonus: Exploration | None = None,
    devices: Devices = ONE_DEVICE,
) -> Update:
    """Return the function that performs one update.

    The update returns at once, while the device still computes, and fetches nothing:
    its metrics are device scalars. On the CPU backend the rollout's NumPy arrays may be
    read in place (https://github.com/jax-ml/jax/issues/37830), so the caller must not
    overwrite them before the returned state is ready. Gradient steps that are not
    finite are skipped (`ppo.finite`).

    The optimizer's state is donated: the state passed in may not be used for another
    update. Its parameters and statistics are not, because a sampler on another thread
    may still be acting with them. `publish` hands such a sampler the parameters after
    each minibatch; the device then gets one minibatch at a time, so that acting does
    not wait for the whole update.

    Args:
        network: The actor-critic.
        config: Settings of the algorithm.
        frame_skip: Frames per step of the rollout.
        total_frames: Length of the run, which schedules need; without it, settings
            keep their initial values.
        off_policy: Rollouts come from older policies, which `config.objective`
            corrects for.
        bonus: The exploration bonuses, if there are any; only on one device.
        devices: Those that share the update. State and results are arrays of this
            process; the rollout has its environments.

    Returns:
        The update. It raises a ``ValueError`` if a rollout's environments cannot be
        split evenly into minibatches.
    """
    reevaluate = make_reevaluate(network, devices)
    prepare = make_prepare(config, frame_skip, devices)
    refresh = make_refresh(network, config) if config.refresh_carry else None
    minibatch_step = make_minibatch_step(network, config, devices)
    # Without lag the policy that acted is the proximal one.
    corrects = config.objective == "decoupled" or config.advantages == "vtrace"
    lagging = off_policy and corrects
    num_steps = config.num_epochs * config.num_minibatches

    def update(
        state: TrainState,
        rollout: Rollout,
        publish: Publish | None = None,
        own: PPOConfig | None = None,
    ) -> tuple[TrainState, Metrics]:
        # Once, and not again for each minibatch.
        rollout = devices.split(rollout)
        check_minibatches(rollout.reward.shape[1], config.num_minibatches)
        progress = state.frames / total_frames if total_frames else 0.0
        frames = state.frames + rollout.reward.size * frame_skip
        learning_rate = jax.device_put(
            np.float32(learning_rate_at(own or config, progress, frames))
        )
        if config.kl_target and state.frames >= config.lr_warmup_frames:
            learning_rate = last_learning_rate(state.opt_state, learning_rate)
        values_at = own.traced_at if own else config.scheduled_at
        scheduled = on_device(values_at(progress, state.frames))

        # 1. Re-evaluate the actions with the parameters that the update starts from.
        proximal_log_prob = None
        if lagging:
            proximal_log_prob = reevaluate(
                state.params, state.normalizer, rollout, config.num_minibatches
            )
        # 2. Advantages and targets, and the order of the minibatches.
        prepared = prepare(
            state.normalizer,
            rollout,
            proximal_log_prob,
            state.key,
            state.step,
            scheduled,
        )
        targets, normalizer, metrics, *_ = prepared
        bonus_state, bonus_batch = state.bonus, None
        if bonus:
            seen = (state.normalizer.obs, normalizer.obs)
            advantage, bonus_state, bonus_batch, bonus_metrics = bonus.prepare(
                bonus_state,
                state.params,
                seen,
                rollout,
                targets.advantage,
                prepared.step,
            )
            targets = targets._replace(advantage=advantage)
            metrics |= bonus_metrics
        batch = _as_batch(rollout, targets, prepared.sampling_weight)
        if config.in_segments:
            carry = stacked_carry(rollout.carry, rollout.segment_carry)
            batch = batch._replace(carry=carry)
        acted_with = normalizer._replace(obs=state.normalizer.obs)
        # 3. Epochs of minibatches.
        params, opt_state, losses = state.params, state.opt_state, []
        rows_of = zip(prepared.minibatches, prepared.env_minibatches, strict=True)
        for number, (rows, envs) in enumerate(rows_of):
            # The first epoch of a policy without lag has stored what it would compute.
            begins = number % config.num_minibatches == 0
            if refresh and begins and (number or off_policy):
                carry = refresh(params, acted_with, batch, config.num_minibatches)
                batch = batch._replace(carry=carry)
            # With the statistics that the actions were chosen with: otherwise the
            # ratio would not be 1 before the first gradient step.
            params, opt_state, loss_metrics = minibatch_step(
                params, opt_state, acted_with, batch, rows, learning_rate, scheduled
            )
            if bonus:
                bonus_state, bonus_metrics = bonus.train(
                    bonus_state, bonus_batch, envs, learning_rate
                )
                loss_metrics |= bonus_metrics
            losses.append(devices.leave(loss_metrics))
            if publish and len(losses) < num_steps:
                jax.block_until_ready(params)
                publish(*devices.leave((params, normalizer)), len(losses) / num_steps)

        params, opt_state, normalizer, metrics = devices.leave(
            (params, opt_state, normalizer, metrics)
        )
        last_epoch = _last(_summary(tuple(losses[-config.num_minibatches :])))
        if config.kl_target and frames >= config.lr_warmup_frames:
            kl = last_epoch["approx_kl_last_epoch"]
            rate = adapted(learning_rate, kl, config)
            opt_state = with_learning_rate(opt_state, rate)
        state = TrainState(
            params,
            opt_state,
            normalizer,
            prepared.step,
            frames,
            prepared.key,
            bonus_state,
        )
        metrics = {
            **_summary(tuple(losses)),
            **last_epoch,
            **metrics,
            "learning_rate": learning_rate,
            **scheduled,
        }
        return state, metrics

    return update


def _as_batch(
    rollout: Rollout, targets: Targets, sampling_weight: Array | None = None
) -> Batch:
    # The observations keep their step T: slicing is free inside the jitted step.
    return Batch(
        obs=rollout.obs,
        is_first=rollout.is_first,
        action=rollout.action,
        value=rollout.value,
        carry=rollout.carry,
        sampling_weight=sampling_weight,
        **targets._asdict(),
    )


def _last(metrics: Metrics) -> Metrics:
    """Return the metrics that grow with each epoch, of the last one."""
    return {
        f"{name}_last_epoch": metrics[name] for name in ("approx_kl", "clip_fraction")
    }


_summary = jax.jit(finite.summary)
