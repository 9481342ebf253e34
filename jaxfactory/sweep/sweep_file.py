"""Reads a sweep's TOML file and checks every run before any of them starts.

::

    [sweep]
    command = { scenario = "basic", total_frames = 200_000 }
    seeds = [0, 1]       # or their number: seeds = 2
    parallel = 2         # number of parallel runs
    evaluate = 100       # evaluation episodes of each run

    [sweep.grid]         # every combination
    learning_rate = [1e-4, 3e-4]
    core = ["gru", "none"]

    [[sweep.list]]       # each of these sets of options
    gamma = 0.99
    [[sweep.list]]
    gamma = 0.9
    num_steps = 64

    [sweep.slurm]        # sbatch options, for --slurm
    time = "2:00:00"
    cpus_per_task = 8
"""

import itertools
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jaxfactory._util.errors import UserError, did_you_mean
from jaxfactory.config import flags, flat_text, runs, sizing
from jaxfactory.config.train import Config
from jaxfactory.envs import family
from jaxfactory.training import init_from
from jaxfactory.training.options import as_config, parse_train


Value = bool | int | float | str | list

_KEYS = ("command", "seeds", "parallel", "evaluate", "grid", "list", "slurm")
_LONGEST_NAME = 120


class Job(NamedTuple):
    """One run of a sweep.

    Attributes:
        name: The options that differ between runs, and the seed.
        run_dir: The run directory.
        args: Flags of ``train``, without ``--run``.
        config: The settings that the flags give.
    """

    name: str
    run_dir: Path
    args: list[str]
    config: Config


class Sweep(NamedTuple):
    """A validated sweep.

    Attributes:
        path: The TOML file.
        folder: Directory of the runs.
        jobs: The runs.
        parallel: Number of parallel runs.
        evaluate: Number of evaluation episodes per run; 0 for no evaluation.
        slurm: ``sbatch`` options of the batch script.
    """

    path: Path
    folder: Path
    jobs: list[Job]
    parallel: int
    evaluate: int
    slurm: dict[str, str]


def read(path: Path, folder: Path | None = None) -> Sweep:
    """Read a file and check every run in it.

    Args:
        path: The TOML file.
        folder: Directory of the runs; by default ``runs/sweeps/<name of the file>``.

    Raises:
        UserError: If the file or an option in it is invalid.
    """
    table = _table(path)
    folder = folder or runs.ROOT / "sweeps" / path.stem
    command = _options(path, "command", table.get("command", {}))
    combinations = _combinations(path, command, table)
    seeds = _seeds(path, table.get("seeds", 1))
    jobs = []
    for varied, seed in itertools.product(combinations, seeds):
        name = _name({**varied, "seed": seed})
        args = [*_flags({**command, **varied}), f"--seed={seed}"]
        jobs.append(Job(name, folder / name, args, _config(path, name, args)))
    names = [job.name for job in jobs]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise UserError(f"{path}: the run {twice!r} occurs twice; remove one of them")
    for job in jobs:
        _check_existing(job)
    return Sweep(
        path=path,
        folder=folder,
        jobs=jobs,
        parallel=_number(path, "parallel", table.get("parallel", 1), least=1),
        evaluate=_number(path, "evaluate", table.get("evaluate", 0), least=0),
        slurm=_slurm(path, table.get("slurm", {})),
    )


def _table(path: Path) -> dict[str, Any]:
    try:
        data = tomllib.loads(path.read_text())
    except OSError as error:
        reason = error.strerror
        raise UserError(f"the sweep {path} cannot be read: {reason}") from error
    except ValueError as error:
        raise UserError(f"{path} is not a TOML file: {error}") from error
    table = data.get("sweep")
    if not isinstance(table, dict):
        raise UserError(f"{path} has no [sweep] table")
    if other := next((key for key in data if key != "sweep"), None):
        raise UserError(f"{path}: {other!r} must be in the [sweep] table")
    for key in table:
        if key not in _KEYS:
            hint = did_you_mean(key, _KEYS) or f"; its keys are {', '.join(_KEYS)}"
            raise UserError(f"{path}: [sweep] has no {key!r}{hint}")
    return table


def _options(path: Path, place: str, table: Any) -> dict[str, Value]:
    """Return the options, with underscores in their names."""
    if not isinstance(table, dict):
        raise UserError(f"{path}: {place} must be a table of options, not {table!r}")
    options = {}
    for key, value in table.items():
        name = key.replace("-", "_")
        if name in ("run", "seed", "help"):
            remedy = "use seeds" if name == "seed" else "the sweep sets it for each run"
            raise UserError(f"{path}: {place} cannot have {key!r}; {remedy}")
        if isinstance(value, dict) or not isinstance(value, Value):
            raise UserError(f"{path}: {key} = {value!r} is not a value of an option")
        options[name] = value
    return options


def _combinations(
    path: Path, command: Mapping[str, Value], table: Mapping[str, Any]
) -> list[dict[str, Value]]:
    grid = _options(path, "grid", table.get("grid", {}))
    for name, values in grid.items():
        if not isinstance(values, list) or not values:
            raise UserError(
                f"{path}: grid: {name} must be a list of values, not {values!r}"
            )
    rows = table.get("list", [{}])
    if not isinstance(rows, list) or not rows:
        raise UserError(f"{path}: list must be a list of tables of options")
    listed = [_options(path, "list", row) for row in rows]
    names = {
        "command": _first_names(command),
        "grid": _first_names(grid),
        "list": _first_names(k for r in listed for k in r),
    }
    for (one, first), (other, second) in itertools.combinations(names.items(), 2):
        if both := first & second:
            raise UserError(
                f"{path}: {min(both)} is in both {one} and {other}; remove one of them"
            )
    columns: list[list[Any]] = [list(values) for values in grid.values()]  # type: ignore[arg-type]
    return [
        {**dict(zip(grid, values)), **row}
        for values in itertools.product(*columns)
        for row in listed
    ]


def _first_names(names: Iterable[str]) -> set[str]:
    """Return the options' names, aliases replaced by the first name."""
    args = flags.unaliased([f"--{name}" for name in names])
    return {arg.removeprefix("--") for arg in args}


def _seeds(path: Path, seeds: Any) -> list[int]:
    if isinstance(seeds, int) and not isinstance(seeds, bool) and seeds > 0:
        return list(range(seeds))
    whole = isinstance(seeds, list) and all(type(seed) is int for seed in seeds)
    if not whole or not seeds:
        raise UserError(
            f"{path}: seeds = {seeds!r} must be a list of whole numbers, or the number "
            "of seeds"
        )
    return list(seeds)


def _number(path: Path, name: str, value: Any, least: int) -> int:
    if type(value) is not int or value < least:
        raise UserError(
            f"{path}: {name} = {value!r} must be a whole number of at least {least}"
        )
    return value


def _slurm(path: Path, table: Any) -> dict[str, str]:
    options = _options(path, "slurm", table)
    for name, value in options.items():
        if isinstance(value, list) or "\n" in str(value):
            raise UserError(f"{path}: slurm: {name} = {value!r} must be one value")
    return {name.replace("_", "-"): str(value) for name, value in options.items()}


def _flags(options: Mapping[str, Value]) -> list[str]:
    args: list[str] = []
    for name, value in options.items():
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            args.append(f"--{flag}" if value else f"--no-{flag}")
        elif isinstance(value, list):
            args += [f"--{flag}", *map(str, value)]
        else:
            args.append(f"--{flag}={value}")
    return args


def _config(path: Path, name: str, args: Sequence[str]) -> Config:
    if sizing.wants_auto(list(args)):
        raise UserError(
            f"{path}: auto would make runs that are not comparable; give a number"
        )
    try:
        init_from.read_on_cpu(args)
        config = as_config(parse_train(args))
        family.check(config.env, video=bool(config.watch.video_every))
    except UserError as error:
        raise UserError(f"{path}: {name}: {error}") from error
    return config


def _name(varied: Mapping[str, Value]) -> str:
    """Return a run's name, which is valid as the name of a folder."""
    parts = []
    for key, value in varied.items():
        if isinstance(value, list):
            text = "-".join(map(str, value))
        elif isinstance(value, str) and "/" in value:
            text = Path(value).stem
        else:
            text = str(value)
        parts.append(f"{key}={re.sub(r'[^A-Za-z0-9_.+-]', '_', text)}")
    name = ",".join(parts)
    if len(name) <= _LONGEST_NAME:
        return name
    # The values alone may still distinguish the runs.
    return ",".join(part.partition("=")[2] for part in parts)[-_LONGEST_NAME:]


def _check_existing(job: Job) -> None:
    """Refuse to resume a run that has other settings."""
    if not runs.is_run(job.run_dir):
        return
    begun = flat_text.training(runs.load_config(job.run_dir))
    wanted = flat_text.training(job.config)
    # More frames only make a run longer.
    changed = [
        name
        for name in wanted
        if begun.get(name) != wanted[name] and name != "total-frames"
    ]
    if changed:
        was = ", ".join(f"{name} {begun.get(name)}" for name in changed)
        now = ", ".join(f"{name} {wanted[name]}" for name in changed)
        raise UserError(
            f"the run {job.run_dir} has {was} and the sweep has {now}; rename the "
            "sweep's file, give --output, or remove the run"
        )
