"""The training loop of several policies: collect, update each, rank, write, save."""

from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np

from jaxfactory._util.signals import TrainingInterrupted
from jaxfactory.config.train import Config
from jaxfactory.distributed.team import SOLO, Together
from jaxfactory.metrics.writers import Writer
from jaxfactory.models.actor_critic import EncoderClass
from jaxfactory.population import selection
from jaxfactory.population.history import Event, finite_or_none
from jaxfactory.ppo.learner import TrainState
from jaxfactory.training.callbacks import Callback
from jaxfactory.training.output import fetched
from jaxfactory.training.population import members as policies
from jaxfactory.training.population import values
from jaxfactory.training.population.output import best_of, of_all
from jaxfactory.training.population.session import PopulationSession, open_population


def train(
    config: Config,
    run_dir: Path,
    *,
    writer: Writer | None,
    encoder: EncoderClass | None,
    callbacks: Sequence[Callback],
    team: Together = SOLO,
) -> TrainState:
    """Train a population; see `training.loop.train`.

    Returns:
        The trained state of the best policy; if another process has it, that of one of
        this process's policies.
    """
    with open_population(
        config, run_dir, encoder=encoder, writer=writer, callbacks=callbacks, team=team
    ) as session:
        run_loop(session)
    if signum := session.interrupt.signum:
        note = f" in {team.count} processes" if team.count > 1 else ""
        saver = session.here[0].checkpointer
        if config.resume == "exact" and saver is not None:
            note = f" exactly from {saver.saved_frames:,} frames"
        raise TrainingInterrupted(signum, run_dir, note)
    for functions in session.callbacks:
        functions.raise_error()
    if session.spread.nobody_learns(session.output.stopped):
        team.share(None)  # All processes have saved then.
        session.output.watchers[0].raise_error(run_dir)
    best = best_of(session.members, config.population.pbt_objective)
    return session.states[session.spread.index(best) or 0]


def run_loop(session: PopulationSession) -> None:
    """Train until the last frame, a signal or a callback; save."""
    timer, output, spread = session.timer, session.output, session.spread
    members, here = session.members, session.here
    with session.sampler as sampler:
        for index, member in enumerate(here):
            session.weigh(index, member.values)
        while session.frames < session.config.total_frames and not session.stopped():
            try:
                rollouts = sampler.collect(session.states)
            except Exception:  # An engine cannot be replaced, for example.
                session.save_before_failing()
                raise
            losses = []
            spread.team.begin_update()
            with timer.phase("update"):
                for index, rollout in enumerate(rollouts):
                    state, loss = session.update(
                        session.states[index], rollout, None, here[index].ppo
                    )
                    session.states[index] = state
                    losses.append(loss)
                # The slab of the rollouts may be overwritten once these are computed.
                jax.block_until_ready([(s.params, s.bonus) for s in session.states])
            before, session.frames = session.frames, session.states[0].frames
            episodes, metrics = spread.join(
                sampler.episodes,
                {**sampler.metrics(), **timer.drain()},
                due=session.due(),
                nobody_learns=output.stopped,
            )
            for member, ended in zip(members, episodes, strict=True):
                member.progress.add(session.frames, ended)
            each = [member.progress.metrics() for member in here]
            for files, own in zip(session.leagues, each, strict=False):
                own.update(files.self_play.metrics())
            together = {
                **of_all(members, session.config.population.pbt_objective),
                **session.throughput.update(session.frames * len(members)),
                **metrics,
            }
            _call_back(session, rollouts, losses, each)
            output.write(losses, each, together, session.frames)
            # Before saving: a checkpoint includes what the events up to it changed.
            select(session, before)
            with timer.phase("checkpoint"):
                session.maybe_save()
                for files in session.leagues:
                    files.maybe_save()
            session.maybe_cut()
    output.flush()
    spread.team.after_training()
    session.save()


def select(session: PopulationSession, before: int) -> None:
    """Rank the population if that is due; record and apply what follows from it."""
    options, members, spread = (
        session.config.population,
        session.members,
        session.spread,
    )
    if not selection.is_due(options, session.frames, before):
        return
    scores = [member.score(options.pbt_objective) for member in members]
    nobody = [i for i, score in enumerate(scores) if not np.isfinite(score)]
    if nobody:
        session.record(
            Event(session.frames, "skip", i, members[i].values) for i in nobody
        )
        names = ", ".join(map(str, nobody))
        session.output.note(
            f"at {session.frames:,} frames the policies are not ranked: no episode of "
            f"{names} has ended since it began or was replaced; raise --pbt-period if "
            "that happens again"
        )
        return
    names = values.mutable(options, list(members[0].values))
    changes = selection.select(
        options,
        scores,
        [member.values for member in members],
        names,
        np.random.default_rng([session.config.seed, 1, session.frames]),
    )
    session.record(
        Event(
            frames=session.frames,
            kind="mutate" if change.parent is None else "copy",
            policy=change.policy,
            values=change.values,
            parent=change.parent,
            score=finite_or_none(scores[change.policy]),
            parent_score=None if change.parent is None else scores[change.parent],
        )
        for change in changes
    )
    copies = [(c.policy, c.parent) for c in changes if c.parent is not None]
    parents = spread.parents(session.states, copies)
    for change in changes:
        member = members[change.policy]
        member.set_values(change.values)
        index = spread.index(change.policy)
        if index is not None:
            session.weigh(index, member.values)
        if change.parent is None:
            continue
        if index is not None:
            state = session.states[index]
            session.states[index] = policies.copied(state, parents[change.parent])
            session.output.watchers[index].reset()
        # They were those of other parameters.
        member.progress.episodes.clear()
        session.output.note(
            f"at {session.frames:,} frames policy {change.policy} "
            f"({scores[change.policy]:.2f}) becomes a copy of policy {change.parent} "
            f"({scores[change.parent]:.2f})"
        )
    indices = [spread.index(number) for number, _ in copies]
    session.sampler.forget([index for index in indices if index is not None])
    if session.leagues and copies:
        _copy_ratings(session, copies)


def _copy_ratings(
    session: PopulationSession, copies: Sequence[tuple[int, int]]
) -> None:
    """Give policies that became copies the ratings of their parents."""
    ratings = session.spread.everyone(
        [files.self_play.rating for files in session.leagues]
    )
    for number, parent in copies:
        index = session.spread.index(number)
        if index is not None:
            session.leagues[index].self_play.become(ratings[parent])


def _call_back(
    session: PopulationSession,
    rollouts: Sequence,
    losses: Sequence[dict],
    each: Sequence[dict[str, float]],
) -> None:
    """Call the user's functions for each policy, and add the metrics they return."""
    for number, functions in enumerate(session.callbacks):
        if functions:
            with session.timer.phase("callback"):
                shown = {**fetched(losses[number]), **each[number]}
                each[number].update(
                    functions.call(session.states[number], rollouts[number], shown)
                )
