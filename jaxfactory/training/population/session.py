"""Setting up a run of several policies: everything that its loop uses."""

import contextlib
import dataclasses
import math
import signal
import time
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax

from jaxfactory._util.errors import UserError
from jaxfactory._util.signals import Interrupt, catch_interrupts
from jaxfactory.checkpoints.manager import Checkpointer
from jaxfactory.checkpoints.policy import check_network
from jaxfactory.checkpoints.saved_run import load_for_evaluation
from jaxfactory.config.train import Config
from jaxfactory.distributed.team import SOLO, Together
from jaxfactory.envs import family
from jaxfactory.envs.pool import open_pool
from jaxfactory.metrics.progress import Progress
from jaxfactory.metrics.timers import Stopwatch, Throughput
from jaxfactory.metrics.writers import Writer
from jaxfactory.models import precision
from jaxfactory.models.actor_critic import ActorCritic, EncoderClass
from jaxfactory.population.collector import PopulationCollector
from jaxfactory.population.history import Event, History
from jaxfactory.population.sampler import PopulationSampler
from jaxfactory.ppo.bonus.exploration import make_exploration
from jaxfactory.ppo.learner import TrainState, Update, init_train_state, make_update
from jaxfactory.training import league, transfer
from jaxfactory.training.callbacks import Callback, Callbacks
from jaxfactory.training.output import save_before_failing
from jaxfactory.training.population import members as policies
from jaxfactory.training.population import values
from jaxfactory.training.population.members import Member
from jaxfactory.training.population.output import PopulationOutput, open_output
from jaxfactory.training.population.spread import Spread
from jaxfactory.training.population.values import Weigh
from jaxfactory.training.setup import record
from jaxfactory.training.team.members import check_same


@dataclasses.dataclass(kw_only=True)
class PopulationSession:
    """Everything that one session of a run of several policies uses.

    Attributes:
        run_dir: The population's run.
        config: All settings.
        spread: Which policies this process trains.
        members: All policies.
        states: The training states of this process's policies.
        frames: Frames that each of them has been trained for.
        pool: The environments.
        sampler: Collects the rollouts; a context manager.
        update: One PPO update of one policy.
        timer: Measures the phases of the loop.
        throughput: Counts the frames of all policies together.
        output: Writes the metrics.
        history: Records what happens to the policies.
        callbacks: The user's own functions, for each of this process's policies.
        interrupt: Remembers the signal that interrupts training.
        deadline: When training ends at the latest, on the monotonic clock.
        weigh: Gives the rows of one of this process's policies its reward weights.
        leagues: Files of their self-play against the past; none without it.
        waits: Whether nothing may be saved, as events are not written yet.
    """

    run_dir: Path
    config: Config
    spread: Spread
    members: list[Member]
    states: list[TrainState]
    frames: int
    pool: family.Pool
    sampler: PopulationSampler
    update: Update
    timer: Stopwatch
    throughput: Throughput
    output: PopulationOutput
    history: History
    callbacks: list[Callbacks]
    interrupt: Interrupt
    deadline: float
    weigh: Weigh
    leagues: list[league.LeagueFiles]
    waits: bool = False

    @property
    def here(self) -> list[Member]:
        """The policies that this process trains."""
        return [self.members[number] for number in self.spread.numbers]

    def stopped(self) -> bool:
        """Whether something ends training before its last frame, in any process."""
        return self.spread.stopped(self.due(), self.output.stopped)

    def due(self) -> bool:
        """Whether something in this process ends training.

        A signal, output that nobody reads, a callback, or the settings' time limit.
        """
        if self.output.left:
            self.interrupt.note(signal.SIGPIPE)
        over = time.monotonic() >= self.deadline
        called = any(functions.stopped for functions in self.callbacks)
        return bool(self.interrupt.signum or called or over)

    def record(self, events: Iterable[Event]) -> None:
        """Write events, in the process that does; all processes call this together."""
        if self.spread.writes:
            self.history.add(events)
        self.waits = not self.spread.team.share(self.history.written)[0]

    def maybe_save(self) -> None:
        """Save all policies if one of them is due: they are resumed together."""
        if self.waits:
            self.waits = not self.spread.team.share(self.history.flush())[0]
        if self.waits:
            return
        saved = [
            checkpointer.maybe_save(state, progress)
            for checkpointer, state, progress in self._savers()
        ]
        if not any(self.spread.everyone(saved)):
            return
        for (checkpointer, *what), done in zip(self._savers(), saved, strict=True):
            if not done:
                checkpointer.begin_save(*what)

    def save(self) -> None:
        """Save this process's policies and wait until that is done."""
        self.history.flush()
        self.history.check()
        for checkpointer, state, progress in self._savers():
            checkpointer.save(state, progress)
        for files in self.leagues:
            files.save()

    def _savers(self) -> list[tuple[Checkpointer, TrainState, Progress]]:
        return [
            (member.checkpointer, state, member.progress)
            for member, state in zip(self.here, self.states, strict=True)
            if member.checkpointer is not None
        ]

    def save_before_failing(self) -> None:
        """Save what was trained before an error that ends the run."""
        self.output.failed = True
        save_before_failing(
            self.save, self.frames, self.run_dir, self.pool, self.output
        )

    def maybe_cut(self) -> None:
        """Begin new episodes where a resumed run would, with ``resume`` exact."""
        if self.members[0].config.is_cut(self.frames):
            self.sampler.restart(self.spread.env_seeds(self.config, self.frames))


@contextlib.contextmanager
def open_population(
    config: Config,
    run_dir: Path,
    *,
    encoder: EncoderClass | None,
    writer: Writer | None,
    callbacks: Sequence[Callback],
    team: Together = SOLO,
) -> Iterator[PopulationSession]:
    """Create or resume a run of several policies; closing it ends everything.

    Args:
        config: All settings.
        run_dir: The run's directory.
        encoder: The encoder's class, if it cannot be found by its name.
        writer: Receives the metrics besides metrics.jsonl and TensorBoard.
        callbacks: The user's own functions.
        team: The processes that train the population together.

    Raises:
        UserError: If the run directory cannot be used for these settings.
    """
    begun = time.monotonic()
    check_same(team, config)
    spread = Spread(team, config.population.num_policies)
    environment = family.resolve(config.env)
    seats, environment = league.make_population_seats(
        config, environment, len(spread.numbers)
    )
    _check_objective(config, environment)
    weights = values.weight_names(config, environment)
    network = ActorCritic(environment.spec, config.network, encoder)
    one = policies.config_of(config, len(spread.numbers))
    bonus = make_exploration(network, one, len(seats.learning_rows(0)))
    rivals = league.make_rivals(config, environment, seats, spread.numbers)
    start = transfer.prepare(config, run_dir, network) if config.init_from else None
    with (
        catch_interrupts() as interrupt,
        policies.open_members(config, run_dir, spread) as members,
        contextlib.ExitStack() as stack,
    ):
        spread.obey(interrupt)
        savers = [m.checkpointer for m in members if m.checkpointer is not None]
        expected = savers[0].saved_frames
        for saver in savers:
            if saver.saved_frames:
                check_network(load_for_evaluation(saver.run_dir), network)
        history = History(run_dir)
        pool = stack.enter_context(
            open_pool(
                environment,
                seed=config.seed,
                env_seeds=spread.env_seeds(config, expected),
                num_steps=config.ppo.num_steps,
                num_slabs=2,
                serial=config.serial,
                **({"stagger": config.stagger} if config.stagger else {}),
            )
        )
        for opened in (*savers, pool):
            team.on_end(run_dir, partial(opened.__exit__, None, None, None))
        pool.start()  # The engines start while the networks are initialized.
        # One program for all.
        initialize = jax.jit(
            lambda key: init_train_state(network, config.ppo, key, bonus)
        )
        keys = [policies.first_key(config.seed, number) for number in spread.numbers]
        states = [
            transfer.begin(initialize(key)._replace(frames=0), start) for key in keys
        ]
        states = policies.restore(members, states, spread)
        frames = states[0].frames
        folders = [saver.run_dir for saver in savers]
        leagues = list(map(league.LeagueFiles, folders, rivals))
        for files, state in zip(leagues, states, strict=False):
            files.resume(state, frames)
        values.begin(config, members, history, frames, weights, spread)
        collector = PopulationCollector(
            pool,
            network,
            seats,
            num_steps=config.ppo.num_steps,
            seed=config.seed,
            segment_steps=config.ppo.segment_steps,
            share=(team.number, team.count),
            rivals=rivals,
        )
        sampler = PopulationSampler(collector)
        if frames != expected:
            # A checkpoint could not be read, and the one before it could.
            sampler.first_seeds = spread.env_seeds(config, frames)
        record([run_dir, *folders] if spread.writes else folders, frames, environment)
        output = open_output(config, run_dir, members, states, writer, stack, spread)
        output.note(precision.describe(network.precision))
        if start:
            output.note(start.report)
        yield PopulationSession(
            run_dir=run_dir,
            config=config,
            spread=spread,
            members=members,
            states=states,
            frames=frames,
            pool=pool,
            sampler=sampler,
            update=make_update(
                network,
                config.ppo,
                frame_skip=config.env.frame_skip,
                total_frames=config.total_frames,
                bonus=bonus,
            ),
            timer=Stopwatch(),
            throughput=Throughput(
                frames * len(members), members[0].progress.seconds if frames else 0.0
            ),
            output=output,
            history=history,
            callbacks=[Callbacks(callbacks, folder) for folder in folders],
            interrupt=interrupt,
            deadline=begun + (60 * config.train_for_minutes or math.inf),
            weigh=values.make_weigh(environment, pool, seats),
            leagues=leagues,
        )


def _check_objective(config: Config, environment: Any) -> None:
    options = config.population
    if options.pbt and options.pbt_objective == "win_rate" and not environment.match:
        raise UserError(
            f"--pbt-objective win_rate needs matches, and {config.env.scenario} has "
            "none; leave it out to rank by the raw return"
        )
