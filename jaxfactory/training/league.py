"""A training run's past versions: setting up self-play, and its files.

``league.json`` has the ratings, and ``snapshots/`` a safetensors file for each past
version. A run may come from elsewhere, so both are checked when it is resumed.
"""

import contextlib
import dataclasses
import json
import warnings
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from jaxfactory._util import plain_json
from jaxfactory._util.errors import UserError
from jaxfactory.checkpoints import checkpoint_files, tensor_file
from jaxfactory.config import runs
from jaxfactory.config.train import Config
from jaxfactory.envs import family
from jaxfactory.league.seats import Seats, self_play_seats
from jaxfactory.league.self_play import SelfPlay
from jaxfactory.league.snapshots import Snapshot
from jaxfactory.models.normalization import Normalizer
from jaxfactory.population import seats as seating
from jaxfactory.ppo.learner import TrainState
from jaxfactory.types import Params


_LARGEST_RATING = 1e6
_COUNTS = ("frames", "wins", "draws", "losses")


class _Weights(NamedTuple):
    """What a snapshot's file holds, under the names that checkpoints use."""

    params: Params
    normalizer: Normalizer


def make_seats(config: Config, environment: Any) -> Seats | None:
    """Return the seats of a run with self-play against its past; None without it.

    Args:
        config: The run's settings.
        environment: What `family.resolve` returned.

    Raises:
        UserError: If the environment is no match of several agents, or the seats that
            learn do not make up minibatches.
    """
    share = config.self_play.self_play_share
    if not share:
        return None
    env = config.env
    agents = agents_of(environment)
    seats = self_play_seats(env.num_envs, env.num_groups, agents, share)
    check_seats(config, seats, env.num_envs)
    return seats


def make_population_seats(
    config: Config, environment: Any, policies: int
) -> tuple[Seats, Any]:
    """Return the seats of several policies, and the environment, in groups for them.

    Args:
        config: Settings of the population.
        environment: What `family.resolve` returned.
        policies: Number of policies of this process.

    Raises:
        UserError: If the environments do not suffice for all.
    """
    env, share = config.env, config.self_play.self_play_share
    agents = agents_of(environment)
    groups = seating.groups_for(env.num_envs, env.num_groups, agents, policies, share)
    if groups != env.num_groups:
        environment = family.resolve(dataclasses.replace(env, num_groups=groups))
    seats = seating.policy_seats(env.num_envs, groups, agents, policies, share)
    if share:
        check_seats(config, seats, env.num_envs // policies)
    return seats, environment


def check_seats(config: Config, seats: Seats, num_envs: int) -> None:
    """Check that the seats of past versions fit the other settings.

    Args:
        config: The run's settings.
        seats: Who acts in which row; all policies have as many.
        num_envs: Rows of a policy, those of its opponents included.

    Raises:
        UserError: If the rows that a policy learns from do not make up minibatches, or
            with ``resume`` exact: opponents depend on matches before the stop.
    """
    # Not in `Config`: runs of earlier versions have both, and can be read.
    if config.resume == "exact":
        raise UserError(
            "--resume exact cannot repeat what a run with --self-play-share computes; "
            "leave one of them out"
        )
    parts = config.ppo.num_minibatches
    learning = len(seats.learning_rows(0))
    if learning % parts or not learning:
        raise UserError(
            f"--self-play-share {config.self_play.self_play_share:g} leaves {learning} "
            f"of {num_envs} environments to learn from, which must be a multiple of "
            f"--num-minibatches {parts}; change --num-envs or one of the two"
        )


def make_self_play(
    config: Config, environment: Any, seats: Seats | None
) -> SelfPlay | None:
    """Return the self-play of a run's seats; None without any."""
    if seats is None:
        return None
    return _self_play(config, environment, seats)


def make_rivals(
    config: Config, environment: Any, seats: Seats, numbers: Sequence[int]
) -> list[SelfPlay]:
    """Return the self-play of each policy of a process; [] without opponents.

    The past versions of each are opponents of all.

    Args:
        config: Settings of the population.
        environment: What `family.resolve` returned.
        seats: Who acts in which row.
        numbers: Of the policies, in the order of their rows' owners.
    """
    if not config.self_play.self_play_share:
        return []
    rivals = [
        _self_play(config, environment, seats, policy=policy, stream=number)
        for policy, number in enumerate(numbers)
    ]
    for one in rivals:
        one.rivals = rivals
    return rivals


def _self_play(
    config: Config, environment: Any, seats: Seats, **options: int
) -> SelfPlay:
    return SelfPlay(
        seats,
        agents=agents_of(environment),
        every=config.self_play.snapshot_every,
        kept=config.self_play.snapshots_kept,
        seed=config.seed,
        frame_skip=config.env.frame_skip,
        **options,
    )


def agents_of(environment: Any) -> int:
    """Return the number of agents of a match, 1 without one.

    Args:
        environment: What `family.resolve` returned.
    """
    match = getattr(environment, "match", None)
    return match.agents if match else 1


class LeagueFiles:
    """Reads and writes the files of a run's self-play.

    Attributes:
        self_play: Whose.
    """

    def __init__(self, run_dir: Path, self_play: SelfPlay):
        """Read nothing and write nothing yet.

        Args:
            run_dir: The run.
            self_play: Its self-play.
        """
        self.self_play = self_play
        self._run_dir = run_dir
        self._saved: list[int] = []

    def resume(self, state: TrainState, frames: int) -> None:
        """Read what an earlier session has written, if there was one.

        Args:
            state: A state of the run's network, which gives the shapes.
            frames: Frames of the checkpoint that training resumes from.

        Raises:
            UserError: If a file is damaged or of another network.
        """
        path = self._run_dir / runs.LEAGUE
        if not frames or not path.is_file():
            self.self_play.frames = frames
            return
        remedy = (
            f"remove {path} and {self._run_dir / runs.SNAPSHOTS} to resume without "
            "past versions"
        )
        record = plain_json.read_object(path, remedy)
        if not _is_record(record):
            raise UserError(f"{path} cannot be read: a field is invalid; {remedy}")
        target = _Weights(state.params, state.normalizer)
        found = []
        for row in record["snapshots"]:
            file = self._file(row["frames"])
            try:
                weights = _read(file, target)
            except (OSError, ValueError) as error:
                reason = plain_json.reason(error)
                raise UserError(f"{file} cannot be read: {reason}; {remedy}") from error
            counts = {name: row[name] for name in _COUNTS}
            found.append(Snapshot(**weights._asdict(), rating=row["rating"], **counts))
        self.self_play.resume(record, found, frames)
        self._saved = [snapshot.frames for snapshot in found]

    def maybe_save(self) -> None:
        """Write the files if a snapshot has been taken since the last time."""
        snapshots = self.self_play.store.snapshots
        if [snapshot.frames for snapshot in list(snapshots)] != self._saved:
            self.save()

    def save(self) -> None:
        """Write the files; a full disk is a warning."""
        record, snapshots = self.self_play.record()
        try:
            self._write(record, snapshots)
        except OSError as error:
            warnings.warn(
                f"the past versions in {self._run_dir / runs.SNAPSHOTS} cannot be "
                f"written ({error.strerror}); training continues with them",
                stacklevel=2,
            )
        self._saved = [snapshot.frames for snapshot in snapshots]

    def _write(self, record: dict[str, Any], snapshots: list[Snapshot]) -> None:
        from safetensors.numpy import save

        folder = self._run_dir / runs.SNAPSHOTS
        folder.mkdir(exist_ok=True)
        kept = [self._file(snapshot.frames) for snapshot in snapshots]
        for snapshot, file in zip(snapshots, kept, strict=True):
            if snapshot.frames in self._saved and file.is_file():
                continue
            weights = _Weights(snapshot.params, snapshot.normalizer)
            scratch = folder / ".unfinished"
            # Writing to the file itself would follow a link.
            scratch.unlink(missing_ok=True)
            scratch.write_bytes(save(checkpoint_files.named_arrays(weights)))
            scratch.replace(file)
        text = json.dumps(record, indent=2) + "\n"
        runs.write_atomically(self._run_dir / runs.LEAGUE, text)
        for file in folder.glob("*.safetensors"):
            if file not in kept:
                with contextlib.suppress(OSError):
                    file.unlink()

    def _file(self, frames: int) -> Path:
        return self._run_dir / runs.SNAPSHOTS / f"{frames:012d}.safetensors"


def _read(file: Path, target: _Weights) -> _Weights:
    arrays = tensor_file.load(file)
    there = checkpoint_files.shapes_of_arrays(arrays)
    here = checkpoint_files.shapes_of(target)
    if different := checkpoint_files.first_difference(there, here):
        raise ValueError(different)
    return checkpoint_files.with_arrays(target, arrays)


def _is_record(record: dict[str, Any]) -> bool:
    rows = record.get("snapshots")
    return (
        _is_rating(record.get("rating"))
        and all(map(plain_json.is_count, map(record.get, ("matches", "draws"))))
        and isinstance(rows, list)
        and all(map(_is_row, rows))
        # Oldest first, each of another number of frames.
        and all(one["frames"] < other["frames"] for one, other in pairwise(rows))
    )


def _is_row(row: Any) -> bool:
    return (
        isinstance(row, dict)
        and _is_rating(row.get("rating"))
        and all(map(plain_json.is_count, map(row.get, _COUNTS)))
    )


def _is_rating(value: Any) -> bool:
    return plain_json.is_number(value, _LARGEST_RATING)
