"""Setting up a training run: everything that the loop uses."""

import contextlib
import math
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax

from jaxfactory._util import versions
from jaxfactory._util.signals import Interrupt, catch_interrupts
from jaxfactory.checkpoints.manager import Checkpointer
from jaxfactory.checkpoints.policy import check_network
from jaxfactory.checkpoints.saved_run import load_for_evaluation
from jaxfactory.config import runs
from jaxfactory.config.train import Config, WatchConfig
from jaxfactory.distributed.devices import ONE_DEVICE, Devices
from jaxfactory.distributed.team import SOLO, Together
from jaxfactory.envs import family
from jaxfactory.envs.pool import open_pool
from jaxfactory.league.self_play import SelfPlay
from jaxfactory.metrics.jsonl_writer import JsonlWriter
from jaxfactory.metrics.progress import Progress
from jaxfactory.metrics.tensorboard_writer import TensorBoardWriter
from jaxfactory.metrics.timers import Stopwatch
from jaxfactory.metrics.wandb_writer import WandbWriter
from jaxfactory.metrics.writers import CompositeWriter, Writer
from jaxfactory.models import precision
from jaxfactory.models.actor_critic import ActorCritic, EncoderClass
from jaxfactory.ppo.bonus.exploration import make_exploration
from jaxfactory.ppo.learner import TrainState, Update, init_train_state, make_update
from jaxfactory.rollout.async_sampler import AsyncSampler
from jaxfactory.rollout.collector import RolloutCollector
from jaxfactory.rollout.sampler import SyncSampler
from jaxfactory.scenarios.maps import map_record
from jaxfactory.training import league, transfer
from jaxfactory.training.background_eval import BackgroundEvaluator
from jaxfactory.training.callbacks import Callbacks
from jaxfactory.training.nonfinite import NonFinite
from jaxfactory.training.output import LateOutput, save_before_failing
from jaxfactory.training.team import members
from jaxfactory.training.team.agreement import Agreement
from jaxfactory.training.team.members import NoCheckpoints


class Session(NamedTuple):
    """Everything that one session of a training run uses.

    Attributes:
        state: The training state to start from.
        progress: Frames, training time and recent episodes of the run.
        pool: The environments.
        sampler: Collects the rollouts; a context manager.
        update: One PPO update.
        timer: Measures the phases of the loop.
        output: Writes the metrics.
        callbacks: The user's own functions.
        checkpointer: Saves the run.
        evaluator: Evaluates the run in another process.
        league: Files of self-play against past versions; None without it.
        interrupt: Remembers the signal that interrupts training.
        deadline: When training ends at the latest, on the monotonic clock.
        config: All settings.
        agreement: What the processes of the run agree on after each iteration.
        env_seeds: Returns seeds of this process's environments, from frames.
    """

    state: TrainState
    progress: Progress
    pool: family.Pool
    sampler: SyncSampler | AsyncSampler
    update: Update
    timer: Stopwatch
    output: LateOutput
    callbacks: Callbacks
    checkpointer: Checkpointer | NoCheckpoints
    evaluator: BackgroundEvaluator
    league: league.LeagueFiles | None
    interrupt: Interrupt
    deadline: float
    config: Config
    agreement: Agreement
    env_seeds: Callable[[int], list[int] | None]

    def stopped(self) -> bool:
        """Whether something ends training before its last frame, in any process."""
        return self.agreement.stopped(self.due())

    def due(self) -> bool:
        """Whether something in this process ends training.

        A signal, output that nobody reads, a callback, numbers that are not finite, or
        the end of the time that the settings give it.
        """
        if self.output.left:
            self.interrupt.note(signal.SIGPIPE)
        over = time.monotonic() >= self.deadline
        reason = self.callbacks.stopped or self.output.nonfinite.stopped
        return bool(self.interrupt.signum or reason or over)

    def save_before_failing(self, state: TrainState, progress: Progress) -> None:
        """Save what was trained before an error that ends the run."""
        save = partial(self.checkpointer.save, state, progress)
        run_dir = self.checkpointer.run_dir
        save_before_failing(save, progress.frames, run_dir, self.pool, self.output)

    def maybe_cut(self, frames: int) -> None:
        """Begin new episodes where a resumed run would, with ``resume`` exact."""
        if self.config.is_cut(frames) and isinstance(self.sampler, SyncSampler):
            self.sampler.restart(self.env_seeds(frames))


@contextlib.contextmanager
def open_session(
    config: Config,
    run_dir: Path,
    *,
    encoder: EncoderClass | None,
    writer: Writer | None,
    callbacks: Callbacks,
    wanted_devices: str = "1",
    team: Together = SOLO,
) -> Iterator[Session]:
    """Create or resume a run; closing it ends every engine, thread and process.

    Args:
        config: All settings.
        run_dir: The run's directory.
        encoder: The encoder's class, if it cannot be found by its name.
        writer: Receives the metrics besides metrics.jsonl and TensorBoard.
        callbacks: The user's own functions.
        wanted_devices: Devices of this process, or ``"all"``.
        team: The processes that train together; number 0 writes the run directory.

    Raises:
        UserError: If the run directory cannot be used for these settings.
    """
    begun = time.monotonic()
    # Mismatched networks are reported before anything is created.
    environment = family.resolve(config.env)
    network = ActorCritic(environment.spec, config.network, encoder)
    members.check_same(team, config)
    devices = members.choose_devices(config, wanted_devices, team)
    writes = team.number == 0

    def env_seeds(frames: int) -> list[int] | None:
        return members.env_seeds(config, frames, devices, team)

    seats = league.make_seats(config, environment)
    rows = config.env.num_envs if seats is None else len(seats.learning_rows())
    bonus = make_exploration(network, config, rows)
    self_play = league.make_self_play(config, environment, seats)
    files = league.LeagueFiles(run_dir, self_play) if self_play else None
    start = None
    if config.init_from and writes:
        start = transfer.prepare(config, run_dir, network)
    with (
        catch_interrupts() as interrupt,
        Checkpointer(run_dir, config) if writes else NoCheckpoints() as checkpointer,
        open_writers(config, run_dir, writer, writes=writes) as output,
    ):
        expected = team.share(checkpointer.saved_frames)[0]
        if checkpointer.saved_frames:
            check_network(load_for_evaluation(run_dir), network)
        with (
            open_pool(
                environment,
                seed=config.seed,
                env_seeds=env_seeds(expected),
                num_steps=config.ppo.num_steps,
                num_slabs=num_slabs(config),
                serial=config.serial,
                **({"stagger": config.stagger} if config.stagger else {}),
            ) as pool,
            BackgroundEvaluator(
                config.watch if writes else WatchConfig(), checkpointer, output
            ) as evaluator,
        ):
            for opened in (checkpointer, pool, evaluator):
                team.on_end(run_dir, partial(opened.__exit__, None, None, None))
            pool.start()  # The engines start while the network is initialized.
            progress = Progress()
            key = jax.random.key(config.seed)
            state = init_train_state(network, config.ppo, key, bonus)
            state = transfer.begin(state, start)
            state = checkpointer.restore_or(state, progress)
            state = members.synchronized(state, progress, devices, team)
            if files:
                files.resume(state, progress.frames)
            sampler = make_sampler(pool, network, config, self_play, devices)
            if progress.frames != expected and isinstance(sampler, SyncSampler):
                # A checkpoint could not be read, and the one before it could.
                sampler.first_seeds = env_seeds(progress.frames)
            if writes:
                record((run_dir,), progress.frames, environment)
            output.begin(progress.frames)
            output.note(precision.describe(network.precision))
            if start:
                output.note(start.report)
            yield Session(
                state=state,
                progress=progress,
                pool=pool,
                sampler=sampler,
                update=make_update(
                    network,
                    config.ppo,
                    frame_skip=config.env.frame_skip,
                    total_frames=config.total_frames,
                    off_policy=config.mode == "async",
                    bonus=bonus,
                    devices=devices,
                ),
                timer=Stopwatch(),
                output=LateOutput(
                    output,
                    NonFinite(
                        state.params,
                        config.ppo.num_epochs * config.ppo.num_minibatches,
                        config.ppo.max_grad_norm,
                    ),
                ),
                callbacks=callbacks,
                checkpointer=checkpointer,
                evaluator=evaluator,
                league=files,
                interrupt=interrupt,
                deadline=begun + (60 * config.train_for_minutes or math.inf),
                config=config,
                agreement=Agreement(team, interrupt),
                env_seeds=env_seeds,
            )


def open_writers(
    config: Config, run_dir: Path, writer: Writer | None, *, writes: bool = True
) -> CompositeWriter:
    """Return the writers of a run; none in a process that writes nothing."""
    if not writes:
        return CompositeWriter()
    writers: list[Writer] = [JsonlWriter(run_dir), TensorBoardWriter(run_dir)]
    if config.watch.wandb:
        writers.append(WandbWriter(run_dir, config))
    return CompositeWriter(*writers, *([writer] if writer else []))


def record(folders: Iterable[Path], frames: int, environment: Any) -> None:
    """Record the map, and the versions of this session, in runs' directories."""
    here = versions.current(precision.kernels_here())
    for folder in folders:
        map_record.record(folder, environment.map_file())
        text = versions.with_session(folder, frames, here)
        runs.write_atomically(folder / versions.FILE, text)


def num_slabs(config: Config) -> int:
    """Return how many rollouts the pool must hold at once."""
    return max(2, config.max_policy_lag + 1) if config.mode == "async" else 2


def make_sampler(
    pool: Any,
    network: ActorCritic,
    config: Config,
    self_play: SelfPlay | None = None,
    devices: Devices = ONE_DEVICE,
) -> SyncSampler | AsyncSampler:
    """Return the sampler of a configuration's mode, a context manager."""
    collector = RolloutCollector(
        pool,
        network,
        num_steps=config.ppo.num_steps,
        seed=config.seed,
        segment_steps=config.ppo.segment_steps,
        self_play=self_play,
        devices=devices,
    )
    if config.mode == "async":
        steps = config.ppo.num_epochs * config.ppo.num_minibatches
        return AsyncSampler(collector, config.max_policy_lag, steps)
    return SyncSampler(collector)
