"""Reads the file of a sweep that searches: the space, the objective, the study.

::

    [sweep]
    search = "tpe"                 # or random, grid
    command = { scenario = "basic", total_frames = 200_000 }
    trials = 40                    # default: 20; for a grid, all of its points
    objective = "score"            # or frames_per_second, minutes_to_score, or
                                   # ["score", "minutes"]
    pruner = "median"              # or none, halving, hyperband
    storage = "journal"            # or sqlite, or the URL of a database

    [sweep.space]
    learning_rate = { low = 1e-5, high = 1e-2, log = true }
    num_epochs = { low = 1, high = 4 }
    core = ["gru", "none"]
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jaxfactory._util.errors import UserError, did_you_mean
from jaxfactory.sweep.search.search_space import Dimension, bounds, points, read_space
from jaxfactory.sweep.sweep_table import (
    Job,
    Sweep,
    Value,
    config_of,
    flags_of,
    load_toml,
    number,
    read_common,
)


METHODS = ("tpe", "random", "grid")
PRUNERS = ("median", "none", "halving", "hyperband")
# Whether larger values are better.
OBJECTIVES = {
    "score": True,
    "minutes": False,
    "frames_per_second": True,
    "minutes_to_score": False,
}
_KEYS = (
    "search", "command", "space", "trials", "objective", "target_score", "pruner",
    "prune_after", "storage", "search_seed", "seeds", "parallel", "evaluate", "slurm",
)  # fmt: skip
_TRIALS = 20


class Search(NamedTuple):
    """A validated search.

    Attributes:
        sweep: Folder, number of parallel runs, evaluation and Slurm options; no jobs.
        method: One of `METHODS`.
        command: Options that all trials share.
        space: What is searched, by option.
        seeds: Seeds of each trial's runs.
        trials: Number of trials.
        objectives: Names in `OBJECTIVES`.
        target: Raw return that ``minutes_to_score`` waits for.
        pruner: One of `PRUNERS`.
        prune_after: Frames of a run before it may be pruned.
        storage: ``journal``, ``sqlite`` or the URL of a database.
        seed: Seed of the sampler.
        total_frames: Frames of a run.
    """

    sweep: Sweep
    method: str
    command: dict[str, Value]
    space: dict[str, Dimension]
    seeds: list[int]
    trials: int
    objectives: tuple[str, ...]
    target: float | None
    pruner: str
    prune_after: int
    storage: str
    seed: int
    total_frames: int

    def jobs(self, trial: int, params: Mapping[str, Value]) -> list[Job]:
        """Return a trial's runs, one for each seed.

        Raises:
            UserError: If the options do not fit together.
        """
        jobs = []
        for seed in self.seeds:
            name = f"trial={trial},seed={seed}"
            args = [*flags_of({**self.command, **params}), f"--seed={seed}"]
            config = config_of(self.sweep.path, name, args)
            jobs.append(Job(name, self.sweep.folder / name, args, config))
        return jobs


def is_search(path: Path) -> bool:
    """Whether a file describes a search.

    Raises:
        UserError: If it cannot be read.
    """
    table = load_toml(path)
    if "search" not in table and "space" in table:
        raise UserError(
            f'{path}: [sweep.space] needs search = "tpe", "random" or "grid" in [sweep]'
        )
    return "search" in table


def read(path: Path, folder: Path | None = None) -> Search:
    """Read a file and check both ends of every range and every choice.

    Args:
        path: The TOML file.
        folder: Directory of the runs; by default ``runs/sweeps/<name of the file>``.

    Raises:
        UserError: If the file or an option in it is invalid.
    """
    table, command, seeds, sweep = read_common(path, _KEYS, folder)
    method = _choice(path, "search", table["search"], METHODS)
    space = read_space(path, command, table.get("space"))
    objectives = _objectives(path, table.get("objective", "score"))
    target = _target(path, objectives, table.get("target_score"))
    pruner = _pruner(path, objectives, table.get("pruner"))
    count = points(path, space) if method == "grid" else None
    search = Search(
        sweep=sweep,
        method=method,
        command=command,
        space=space,
        seeds=seeds,
        trials=min(
            number(path, "trials", table.get("trials", count or _TRIALS), least=1),
            count or math.inf,
        ),
        objectives=objectives,
        target=target,
        pruner=pruner,
        prune_after=0,
        storage=_storage(path, table.get("storage", "journal")),
        seed=number(path, "search_seed", table.get("search_seed", 0), least=0),
        total_frames=0,
    )
    frames = _check_each(search)
    after = table.get("prune_after", frames // 4)
    return search._replace(
        total_frames=frames, prune_after=number(path, "prune_after", after, least=0)
    )


def _choice(path: Path, name: str, value: Any, choices: Sequence[str]) -> str:
    if value not in choices:
        hint = did_you_mean(str(value), choices)
        raise UserError(
            f"{path}: {name} = {value!r} must be one of {', '.join(choices)}{hint}"
        )
    return value


def _objectives(path: Path, value: Any) -> tuple[str, ...]:
    names = value if isinstance(value, list) else [value]
    for name in names:
        _choice(path, "objective", name, tuple(OBJECTIVES))
    if not names or len({*names}) < len(names):
        raise UserError(f"{path}: objective = {value!r} must name different objectives")
    return tuple(names)


def _target(path: Path, objectives: Sequence[str], value: Any) -> float | None:
    wanted = "minutes_to_score" in objectives
    if wanted != (type(value) in (int, float)):
        raise UserError(
            f"{path}: target_score = {value!r} must be the raw return that objective = "
            '"minutes_to_score" waits for, and belongs to that objective only'
        )
    return None if value is None else float(value)


def _pruner(path: Path, objectives: Sequence[str], value: Any) -> str:
    possible = objectives in (("score",), ("minutes_to_score",))
    pruner = _choice(
        path, "pruner", value or ("median" if possible else "none"), PRUNERS
    )
    if pruner != "none" and not possible:
        raise UserError(
            f'{path}: pruner = "{pruner}" stops runs whose raw return is low, which '
            f"says nothing about {' and '.join(objectives)}; leave it out"
        )
    return pruner


def _storage(path: Path, value: Any) -> str:
    if value in ("journal", "sqlite") or (isinstance(value, str) and "://" in value):
        return value
    raise UserError(
        f"{path}: storage = {value!r} must be journal, sqlite or a database's URL"
    )


def _check_each(search: Search) -> int:
    """Check each choice and bound beside the first ones; return the frames of a run."""
    first = {name: bounds(dimension)[0] for name, dimension in search.space.items()}
    frames = search.jobs(0, first)[0].config.total_frames
    for name, dimension in search.space.items():
        for value in bounds(dimension)[1:]:
            search.jobs(0, {**first, name: value})
    return frames
