"""Setting up a run of several policies: everything that its loop uses."""

import contextlib
import dataclasses
import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax

from jaxfactory._util.errors import UserError
from jaxfactory._util.signals import Interrupt, catch_interrupts
from jaxfactory.checkpoints.policy import check_network
from jaxfactory.checkpoints.saved_run import load_for_evaluation
from jaxfactory.config.train import Config
from jaxfactory.envs import family, seeds
from jaxfactory.envs.pool import open_pool
from jaxfactory.metrics.timers import Stopwatch, Throughput
from jaxfactory.metrics.writers import Writer
from jaxfactory.models import precision
from jaxfactory.models.actor_critic import ActorCritic, EncoderClass
from jaxfactory.population import seats as seating
from jaxfactory.population.collector import PopulationCollector
from jaxfactory.population.history import History
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
from jaxfactory.training.population.values import Weigh
from jaxfactory.training.setup import record


@dataclasses.dataclass(kw_only=True)
class PopulationSession:
    """Everything that one session of a run of several policies uses.

    Attributes:
        run_dir: The population's run.
        config: All settings.
        members: The policies.
        states: Their training states.
        frames: Frames that each of them has been trained for.
        pool: The environments.
        sampler: Collects the rollouts; a context manager.
        update: One PPO update of one policy.
        timer: Measures the phases of the loop.
        throughput: Counts the frames of all policies together.
        output: Writes the metrics.
        history: Records what happens to the policies.
        callbacks: The user's own functions, for each policy.
        interrupt: Remembers the signal that interrupts training.
        deadline: When training ends at the latest, on the monotonic clock.
        weigh: Gives the rows of a policy its reward weights.
    """

    run_dir: Path
    config: Config
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

    def stopped(self) -> bool:
        """Whether something ends training before its last frame."""
        over = time.monotonic() >= self.deadline
        called = any(functions.stopped for functions in self.callbacks)
        return bool(self.interrupt.signum or called or self.output.stopped or over)

    def maybe_save(self) -> None:
        """Save all policies if one of them is due: they are resumed together."""
        pairs = list(zip(self.members, self.states, strict=True))
        saved = [m.checkpointer.maybe_save(s, m.progress) for m, s in pairs]
        for (member, state), done in zip(pairs, saved, strict=True):
            if any(saved) and not done:
                member.checkpointer.begin_save(state, member.progress)

    def save(self) -> None:
        """Save all policies and wait until that is done."""
        for member, state in zip(self.members, self.states, strict=True):
            member.checkpointer.save(state, member.progress)

    def save_before_failing(self) -> None:
        """Save what was trained before an error that ends the run."""
        save_before_failing(
            self.save, self.frames, self.run_dir, self.pool, self.output
        )

    def maybe_cut(self) -> None:
        """Begin new episodes where a resumed run would, with ``resume`` exact."""
        if self.members[0].config.is_cut(self.frames):
            self.sampler.restart(_env_seeds(self.config, self.frames))


@contextlib.contextmanager
def open_population(
    config: Config,
    run_dir: Path,
    *,
    encoder: EncoderClass | None,
    writer: Writer | None,
    callbacks: Sequence[Callback],
) -> Iterator[PopulationSession]:
    """Create or resume a run of several policies; closing it ends everything.

    Args:
        config: All settings.
        run_dir: The run's directory.
        encoder: The encoder's class, if it cannot be found by its name.
        writer: Receives the metrics besides metrics.jsonl and TensorBoard.
        callbacks: The user's own functions.

    Raises:
        UserError: If the run directory cannot be used for these settings.
    """
    begun = time.monotonic()
    options = config.population
    environment = family.resolve(config.env)
    agents = league.agents_of(environment)
    groups = seating.groups_for(
        config.env.num_envs, config.env.num_groups, agents, options.num_policies
    )
    if groups != config.env.num_groups:
        env = dataclasses.replace(config.env, num_groups=groups)
        environment = family.resolve(env)
    _check_objective(config, environment)
    weights = values.weight_names(config, environment)
    seats = seating.policy_seats(
        config.env.num_envs, groups, agents, options.num_policies
    )
    network = ActorCritic(environment.spec, config.network, encoder)
    one = policies.config_of(config)
    bonus = make_exploration(network, one, one.env.num_envs)
    start = transfer.prepare(config, run_dir, network) if config.init_from else None
    with (
        catch_interrupts() as interrupt,
        policies.open_members(config, run_dir) as members,
        contextlib.ExitStack() as stack,
    ):
        expected = members[0].checkpointer.saved_frames
        for member in members:
            if member.checkpointer.saved_frames:
                check_network(load_for_evaluation(member.run_dir), network)
        history = History(run_dir)
        pool = stack.enter_context(
            open_pool(
                environment,
                seed=config.seed,
                env_seeds=_env_seeds(config, expected),
                num_steps=config.ppo.num_steps,
                num_slabs=2,
                serial=config.serial,
                **({"stagger": config.stagger} if config.stagger else {}),
            )
        )
        pool.start()  # The engines start while the networks are initialized.
        # One program for all.
        initialize = jax.jit(
            lambda key: init_train_state(network, config.ppo, key, bonus)
        )
        keys = [policies.first_key(config.seed, member.number) for member in members]
        states = [
            transfer.begin(initialize(key)._replace(frames=0), start) for key in keys
        ]
        states = policies.restore(members, states)
        frames = states[0].frames
        values.begin(config, members, history, frames, weights)
        collector = PopulationCollector(
            pool,
            network,
            seats,
            num_steps=config.ppo.num_steps,
            seed=config.seed,
            segment_steps=config.ppo.segment_steps,
        )
        sampler = PopulationSampler(collector)
        if frames != expected:
            # A checkpoint could not be read, and the one before it could.
            sampler.first_seeds = _env_seeds(config, frames)
        folders = (run_dir, *(member.run_dir for member in members))
        record(folders, frames, environment)
        output = open_output(config, run_dir, members, states, writer, stack)
        output.note(precision.describe(network.precision))
        if start:
            output.note(start.report)
        yield PopulationSession(
            run_dir=run_dir,
            config=config,
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
            callbacks=[Callbacks(callbacks, member.run_dir) for member in members],
            interrupt=interrupt,
            deadline=begun + (60 * config.train_for_minutes or math.inf),
            weigh=values.make_weigh(environment, pool, seats),
        )


def _check_objective(config: Config, environment: Any) -> None:
    options = config.population
    if options.pbt and options.pbt_objective == "win_rate" and not environment.match:
        raise UserError(
            f"--pbt-objective win_rate needs matches, and {config.env.scenario} has "
            "none; leave it out to rank by the raw return"
        )


def _env_seeds(config: Config, frames: int) -> list[int] | None:
    return seeds.env_seeds(config.seed, config.env.num_envs, frames)
