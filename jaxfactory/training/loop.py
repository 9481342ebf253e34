"""The training loop: collect a rollout, update, write, save."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import jax

from jaxfactory._util import plugins
from jaxfactory._util.errors import UserError
from jaxfactory._util.signals import TrainingInterrupted
from jaxfactory.config import runs
from jaxfactory.config.train import Config
from jaxfactory.distributed.team import SOLO, Together
from jaxfactory.envs import family
from jaxfactory.metrics.writers import Writer
from jaxfactory.models.actor_critic import EncoderClass, with_encoder
from jaxfactory.ppo.learner import TrainState
from jaxfactory.scenarios.scenario import Scenario
from jaxfactory.training import init_from
from jaxfactory.training.callbacks import Callback, Callbacks
from jaxfactory.training.output import fetched
from jaxfactory.training.population import loop as populations
from jaxfactory.training.setup import Session, open_session
from jaxfactory.training.team.members import exact_needs_one_process


def train(
    config: Config,
    run_dir: Path,
    *,
    writer: Writer | None = None,
    encoder: EncoderClass | None = None,
    scenario: str | Scenario | None = None,
    callbacks: Sequence[Callback] = (),
    devices: str = "1",
    team: Together = SOLO,
) -> TrainState:
    """Train until ``config.total_frames``; resume the run if it has a checkpoint.

    Args:
        config: All settings.
        run_dir: Directory for config.json, metrics and checkpoints.
        writer: Receives the metrics besides metrics.jsonl and TensorBoard.
        encoder: The user's own encoder class; recorded by its name. By default the one
            that `config.network.encoder` names.
        scenario: The user's own scenario; recorded by the name of its variable or its
            registration. By default the one that `config.env.scenario` names.
        callbacks: The user's own functions, called after each update; with several
            processes, only process 0's, with its own rollout.
        devices: Devices of this process that share the environments and the update: a
            number, or ``"all"``.
        team: The processes that train together. Number 0 writes the run directory.

    Returns:
        The trained state; of several policies, that of the best one.

    Raises:
        UserError: If the run directory cannot be used for these settings; after saving,
            if numbers were not finite for several updates.
        UserCodeError: If a callback raises, after saving.
        TrainingInterrupted: On Ctrl-C, SIGTERM or SIGHUP, or once nobody reads the
            output, after saving.
    """
    config = with_encoder(config, encoder)
    config = dataclasses.replace(config, env=family.pinned(config.env, scenario))
    config = init_from.recorded(config, run_dir)
    if place := plugins.being_imported():
        raise UserError(
            f"training started while {place} was being imported; move that call under "
            "`if __name__ == '__main__':`"
        )
    if population := runs.population_of(run_dir):
        raise UserError(
            f"{run_dir} is one policy of the run {population} and is resumed with it: "
            f"give --run {population}, or start a new run with --init-from {run_dir}"
        )
    if config.population.num_policies > 1:
        if devices != "1":
            raise UserError(
                f"--num-policies {config.population.num_policies} trains on one device "
                f"of each process, and cannot be used with --devices {devices}; leave "
                "one of them out"
            )
        if team.count > 1 and config.resume == "exact":
            raise exact_needs_one_process()
        return populations.train(
            config,
            run_dir,
            writer=writer,
            encoder=encoder,
            callbacks=callbacks if team.number == 0 else (),
            team=team,
        )
    functions = Callbacks(callbacks if team.number == 0 else (), run_dir)
    with open_session(
        config,
        run_dir,
        encoder=encoder,
        writer=writer,
        callbacks=functions,
        wanted_devices=devices,
        team=team,
    ) as session:
        state = run_loop(session, config.total_frames)
    if signum := session.interrupt.signum:
        exact = config.resume == "exact"
        frames = session.checkpointer.saved_frames
        note = f" exactly from {frames:,} frames" if exact else ""
        note = f" in {team.count} processes" if team.count > 1 else note
        raise TrainingInterrupted(signum, run_dir, note)
    functions.raise_error()
    if session.output.nonfinite.stopped:
        team.share(None)  # In all processes; process 0 has saved then.
    session.output.nonfinite.raise_error(run_dir)
    return state


def run_loop(session: Session, total_frames: int) -> TrainState:
    """Train until ``total_frames``, a signal or a callback; save; return the state."""
    state, progress, timer = session.state, session.progress, session.timer
    output, callbacks = session.output, session.callbacks
    with session.sampler as sampler:
        while progress.frames < total_frames and not session.stopped():
            try:
                rollout = sampler.collect(state)
            except Exception:  # An engine cannot be replaced, for example.
                session.save_before_failing(state, progress)
                raise
            session.agreement.begin_update()
            with timer.phase("update"):
                state, losses = session.update(state, rollout, sampler.publish)
                # Acting needs the parameters, and the rollout's slab may be overwritten
                # once they are computed; waiting here counts the time as this phase's.
                jax.block_until_ready((state.params, state.bonus))
            episodes, metrics = session.agreement.join(
                sampler.episodes, {**sampler.metrics(), **timer.drain()}, session.due()
            )
            progress.add(state.frames, episodes)
            metrics = {**progress.metrics(), **metrics}
            if callbacks:
                with timer.phase("callback"):
                    shown = {**fetched(losses), **metrics}
                    metrics |= callbacks.call(state, rollout, shown)
            output.write(losses, metrics, progress.frames)
            with timer.phase("checkpoint"):
                session.checkpointer.maybe_save(state, progress)
                session.evaluator.maybe_submit(state, progress)
                if session.league:
                    session.league.maybe_save()
            session.maybe_cut(progress.frames)
    output.flush()
    if session.league:
        session.league.save()
    session.agreement.end()
    session.checkpointer.save(state, progress)
    session.evaluator.finish(state, progress, lambda: bool(session.interrupt.signum))
    return state
