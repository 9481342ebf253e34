"""The corridor: pool, sampler, learner and what hangs off them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from jaxfactory._util import plugins
from jaxfactory._util.errors import UserError
from jaxfactory._util.signals import TrainingInterrupted, catch_interrupts
from jaxfactory.checkpoints.manager import Checkpointer
from jaxfactory.checkpoints.saved_run import load_for_evaluation
from jaxfactory.checkpoints.saved_state import check_network
from jaxfactory.config.train import Config
from jaxfactory.envs.pool import env_spec, make_pool
from jaxfactory.metrics.episodes import EpisodeStats, Stopwatch, Throughput
from jaxfactory.metrics.wandb_writer import WandbWriter
from jaxfactory.metrics.writers import (
    CompositeWriter,
    JsonlWriter,
    TensorBoardWriter,
    Writer,
)
from jaxfactory.models.actor_critic import ActorCritic, EncoderClass, with_encoder
from jaxfactory.ppo.learner import TrainState, init_train_state, make_update
from jaxfactory.rollout.async_sampler import AsyncSampler
from jaxfactory.rollout.sampler import RolloutCollector, SyncSampler
from jaxfactory.scenarios.maps import map_record, selection
from jaxfactory.scenarios.scenario import Scenario
from jaxfactory.scenarios.scenario_table import with_scenario
from jaxfactory.training import init_from, transfer
from jaxfactory.training.background_eval import BackgroundEvaluator
from jaxfactory.training.callbacks import Callback, Callbacks


def train(
    config: Config,
    run_dir: Path,
    *,
    writer: Writer | None = None,
    encoder: EncoderClass | None = None,
    scenario: str | Scenario | None = None,
    callbacks: Sequence[Callback] = (),
) -> TrainState:
    """Train until ``config.total_frames``, going on from what the run has saved.

    Args:
        config: All settings.
        run_dir: Where config.json, metrics and checkpoints go.
        writer: Takes the metrics besides metrics.jsonl and TensorBoard.
        encoder: A class of your own to encode observations with; recorded by its name.
            By default the one that `config.network.encoder` names.
        scenario: One of your own to train on; recorded by the name of the variable or
            the registration that it is found by. By default the one that
            `config.env.scenario` names.
        callbacks: Functions of your own that see every iteration.

    Returns:
        The trained state.

    Raises:
        UserError: If the run directory cannot be used for these settings.
        UserCodeError: If a callback raises, after saving.
        TrainingInterrupted: On Ctrl-C or SIGTERM, after saving.
    """
    config = with_scenario(with_encoder(config, encoder), scenario)
    config = init_from.recorded(config, run_dir)
    if place := plugins.being_imported():
        raise UserError(
            f"{place} was to be imported, and begins to train; put that under "
            "`if __name__ == '__main__':`"
        )
    # Before anything is made that a network that does not fit would leave behind.
    network = ActorCritic(env_spec(config.env), config.network, encoder)
    start = transfer.prepare(config, run_dir, network)
    writers: list[Writer] = [JsonlWriter(run_dir), TensorBoardWriter(run_dir)]
    if config.watch.wandb:
        writers.append(WandbWriter(run_dir, config))
    stats, timer = EpisodeStats(), Stopwatch()
    watchers = Callbacks(callbacks, run_dir)
    with (
        catch_interrupts() as interrupt,
        Checkpointer(run_dir, config) as checkpointer,
        CompositeWriter(*writers, *([writer] if writer else [])) as output,
        make_pool(
            config.env,
            # A resumed run plays other episodes than the ones it began with.
            seed=(config.seed + checkpointer.saved_frames) % 2**32,
            num_steps=config.ppo.num_steps,
            num_slabs=num_slabs(config),
            serial=config.serial,
        ) as pool,
        BackgroundEvaluator(config, checkpointer, output) as evaluator,
    ):
        if checkpointer.saved_frames:
            check_network(load_for_evaluation(run_dir), network)
        key = jax.random.key(config.seed)
        state = init_train_state(network, config.ppo, key)
        state = checkpointer.restore_or(transfer.begin(state, start), stats)
        map_record.record(run_dir, selection.of(config.env))
        throughput = Throughput(state.frames, checkpointer.seconds)
        update = make_update(
            network,
            config.ppo,
            frame_skip=config.env.frame_skip,
            total_frames=config.total_frames,
            off_policy=config.mode == "async",
        )
        output.begin(state.frames)
        if start:
            output.note(start.said)
        late: tuple[Any, dict[str, float], int] | None = None
        with make_sampler(pool, network, config) as sampler:
            while state.frames < config.total_frames and not (
                interrupt.signum or watchers.stopped
            ):
                rollout = sampler.collect(state)
                with timer.phase("update"):
                    state, losses = update(state, rollout, sampler.publish)
                    # Acting needs the parameters, and a slab may be rewritten once
                    # they are there; waiting here shows where the time goes.
                    jax.block_until_ready(state.params)
                stats.extend(sampler.episodes)
                host = {
                    **stats.metrics(),
                    **throughput.update(state.frames),
                    **sampler.metrics(),
                    **timer.drain(),
                }
                if watchers:
                    with timer.phase("callback"):
                        seen = {**_named(losses), **host}
                        host |= watchers.call(state, rollout, seen)
                # One iteration late, so that the device is never waited for.
                if late:
                    _write(output, *late)
                late = (losses, host, state.frames)
                with timer.phase("checkpoint"):
                    checkpointer.maybe_save(state, stats, throughput.seconds)
                    evaluator.maybe_submit(state, stats, throughput.seconds)
        if late:
            _write(output, *late)
        checkpointer.save(state, stats, throughput.seconds)
        evaluator.finish(
            state, stats, throughput.seconds, stop=lambda: bool(interrupt.signum)
        )
    if interrupt.signum:
        raise TrainingInterrupted(interrupt.signum, run_dir)
    watchers.raise_error()
    return state


def num_slabs(config: Config) -> int:
    """Return how many rollouts the pool must hold at once."""
    return max(2, config.max_policy_lag + 1) if config.mode == "async" else 2


def make_sampler(
    pool: Any, network: ActorCritic, config: Config
) -> SyncSampler | AsyncSampler:
    """Return the sampler of a configuration's mode, a context manager."""
    player = RolloutCollector(pool, network, config)
    if config.mode == "async":
        steps = config.ppo.num_epochs * config.ppo.num_minibatches
        return AsyncSampler(player, config.max_policy_lag, steps)
    return SyncSampler(player)


def _write(
    output: Writer, losses: Mapping[str, Any], host: dict[str, float], frames: int
) -> None:
    output.write({**_named(losses), **host}, frames)


def _named(losses: Mapping[str, Any]) -> dict[str, float]:
    fetched = jax.device_get(dict(losses))
    return {f"losses/{name}": float(value) for name, value in fetched.items()}
