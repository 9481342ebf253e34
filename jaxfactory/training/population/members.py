"""The policies of a population: each is a run of its own, below the population's."""

import contextlib
import dataclasses
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import jax

from jaxfactory._util.errors import UserError
from jaxfactory.checkpoints import run_lock
from jaxfactory.checkpoints.manager import Checkpointer
from jaxfactory.config import runs
from jaxfactory.config import train as config_lib
from jaxfactory.config.agents.population import OWN, PopulationConfig
from jaxfactory.config.ppo import PPOConfig
from jaxfactory.config.train import Config
from jaxfactory.metrics.progress import Progress
from jaxfactory.population.selection import Values
from jaxfactory.ppo.learner import TrainState
from jaxfactory.training.population.spread import Spread


@dataclasses.dataclass(kw_only=True)
class Member:
    """A policy of a population.

    Attributes:
        number: From 0.
        config: Settings of its run; its own environments are its share of the pool's.
        run_dir: The directory of its run.
        checkpointer: Saves its run; None if another process trains it.
        progress: Its frames and recent episodes.
        values: The settings that it has of its own.
        ppo: The algorithm's settings, with its own ones.
    """

    number: int
    config: Config
    run_dir: Path
    checkpointer: Checkpointer | None
    progress: Progress = dataclasses.field(default_factory=Progress)
    values: Values = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        self.ppo: PPOConfig = self.config.ppo

    def set_values(self, values: Values) -> None:
        """Take over settings, and record them in its config.json."""
        self.values = dict(values)
        own = {name: value for name, value in values.items() if name in OWN}
        self.ppo = dataclasses.replace(self.config.ppo, **own)
        self.config = dataclasses.replace(self.config, ppo=self.ppo)
        if self.checkpointer is None:
            return
        text = json.dumps(config_lib.to_dict(self.config), indent=2) + "\n"
        # The events have them as well, so a full disk does no harm.
        with contextlib.suppress(OSError):
            runs.write_atomically(self.run_dir / runs.CONFIG, text)

    def score(self, objective: str) -> float:
        """Return its objective; NaN as long as it has none."""
        if objective == "win_rate":
            return self.progress.episodes.win_rate()
        return self.progress.episodes.summary(objective).mean


def config_of(config: Config, policies: int) -> Config:
    """Return the settings of the run of one policy of a population.

    Args:
        config: Settings of the population.
        policies: Policies that share the environments of a process.
    """
    env = config.env
    share = env.num_envs // policies
    groups = math.gcd(share, env.num_groups)
    return dataclasses.replace(
        config,
        env=dataclasses.replace(env, num_envs=share, num_groups=groups),
        population=PopulationConfig(),
    )


@contextlib.contextmanager
def open_members(
    config: Config, run_dir: Path, spread: Spread
) -> Iterator[list[Member]]:
    """Open the runs of this process's policies, which locks them.

    Args:
        config: Settings of the population.
        run_dir: Its run.
        spread: The processes.

    Yields:
        All policies, those of other processes included.

    Raises:
        UserError: If a directory cannot be used.
    """
    one, count = config_of(config, len(spread.numbers)), config.population.num_policies
    lock = _locked(run_dir, config) if spread.writes else contextlib.nullcontext()
    with lock, contextlib.ExitStack() as stack:
        limit = _common_frames(run_dir, count, one) if spread.writes else 0
        # The others' directories are below the one that process 0 has made.
        limit = spread.team.share(limit)[0]
        members = []
        for number in range(count):
            folder, checkpointer = runs.policy_dir(run_dir, number), None
            if number in spread.numbers:
                checkpointer = Checkpointer(folder, one)
                checkpointer.limit = limit
                stack.enter_context(checkpointer)
            members.append(
                Member(
                    number=number,
                    config=one,
                    run_dir=folder,
                    checkpointer=checkpointer,
                )
            )
        yield members


@contextlib.contextmanager
def _locked(run_dir: Path, config: Config) -> Iterator[None]:
    """Hold the lock of the population's run, and write its config.json."""
    # Nothing is written before the lock is held: another process may be training.
    runs.check_run(run_dir, config)
    with run_lock.take(run_dir / runs.LOCK):
        runs.open_run(run_dir, config)
        (run_dir / runs.POLICIES).mkdir(exist_ok=True)
        yield


def restore(
    members: Sequence[Member], states: Sequence[TrainState], spread: Spread
) -> list[TrainState]:
    """Return the states of the newest checkpoints that all policies have.

    Args:
        members: All policies; their progress is restored, too.
        states: Those of a new run, of this process's policies.
        spread: The processes.

    Raises:
        UserError: If there are checkpoints, but none of the same frames can be read.
    """
    here = [(m, m.checkpointer) for m in members if m.checkpointer is not None]
    while True:
        found = [
            checkpointer.restore_or(state, member.progress)
            for (member, checkpointer), state in zip(here, states, strict=True)
        ]
        frames = spread.everyone([state.frames for state in found])
        lowest = min(frames)
        if all(each == lowest for each in frames):
            break
        if not lowest:
            raise _no_common(members[0].run_dir.parent.parent)
        for _, checkpointer in here:  # A checkpoint of one of them could not be read.
            checkpointer.limit = lowest
    for _, checkpointer in here:
        checkpointer.limit = math.inf
    progress = spread.everyone([member.progress.state() for member, _ in here])
    for member, state in zip(members, progress, strict=True):
        if member.checkpointer is None:
            member.progress.resume(state)
    return found


def _common_frames(run_dir: Path, count: int, config: Config) -> int:
    """Return the frames of the newest checkpoint that all policies have.

    A process that is killed while saving may leave newer ones of some policies.
    """
    frames = [
        {int(path.name) for path in runs.checkpoint_dirs(folder, "latest")}
        for folder in (runs.policy_dir(run_dir, number) for number in range(count))
    ]
    if config.resume == "exact":
        frames = [{one for one in saved if config.is_cut(one)} for saved in frames]
    common = set.intersection(*frames)
    if not common and all(frames):
        raise _no_common(run_dir)
    return max(common, default=0)


def _no_common(run_dir: Path) -> UserError:
    return UserError(
        f"the policies of the run {run_dir} have no readable checkpoint of the same "
        "frames; give --run a new directory, and start it from one of them with "
        f"--init-from {runs.policy_dir(run_dir, 0)}"
    )


def copied(state: TrainState, parent: TrainState) -> TrainState:
    """Return a state with another's parameters, optimizer, statistics and bonus.

    Frames, number of updates and random key stay. The optimizer's and the bonus's
    arrays are copies, because an update donates them.
    """
    opt_state, bonus = jax.tree.map(
        lambda leaf: leaf.copy(), (parent.opt_state, parent.bonus)
    )
    return state._replace(
        params=parent.params,
        normalizer=parent.normalizer,
        opt_state=opt_state,
        bonus=bonus,
    )


def first_key(seed: int, number: int) -> jax.Array:
    """Return the key that a policy is initialized with; that of policy 0 is a run's."""
    key = jax.random.key(seed)
    # 0 to 3 give the keys of a single run.
    return jax.random.fold_in(key, 16 + number) if number else key
