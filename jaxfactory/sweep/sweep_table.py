"""The parts that every file of a sweep has: options of ``train``, numbers, seeds."""

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


class Common(NamedTuple):
    """What the files of all sweeps have.

    Attributes:
        table: The whole [sweep] table.
        command: Options that all runs share.
        seeds: Seeds of the runs.
        sweep: The rest; no jobs.
    """

    table: dict[str, Any]
    command: dict[str, Value]
    seeds: list[int]
    sweep: Sweep


def read_common(path: Path, keys: Sequence[str], folder: Path | None) -> Common:
    """Read a file's [sweep] table and what every kind of sweep has.

    Args:
        path: The TOML file.
        keys: The keys that the table may have.
        folder: Directory of the runs; by default ``runs/sweeps/<name of the file>``.

    Raises:
        UserError: If the file, a key, or a value of these options is invalid.
    """
    table = load_toml(path)
    check_keys(path, table, keys)
    return Common(
        table=table,
        command=options_of(path, "command", table.get("command", {})),
        seeds=seeds_of(path, table.get("seeds", 1)),
        sweep=Sweep(
            path=path,
            folder=folder or runs.ROOT / "sweeps" / path.stem,
            jobs=[],
            parallel=number(path, "parallel", table.get("parallel", 1), least=1),
            evaluate=number(path, "evaluate", table.get("evaluate", 0), least=0),
            slurm=slurm_options(path, table.get("slurm", {})),
        ),
    )


def load_toml(path: Path) -> dict[str, Any]:
    """Return the [sweep] table of a file, before its keys are checked.

    Raises:
        UserError: If the file cannot be read, or has no such table or others beside it.
    """
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
    return table


def check_keys(path: Path, table: Mapping[str, Any], keys: Sequence[str]) -> None:
    """Refuse keys of the table that it does not have.

    Raises:
        UserError: If there is one; the message names the nearest key.
    """
    for key in table:
        if key not in keys:
            hint = did_you_mean(key, keys) or f"; its keys are {', '.join(keys)}"
            raise UserError(f"{path}: [sweep] has no {key!r}{hint}")


def options_of(path: Path, place: str, table: Any) -> dict[str, Value]:
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


def first_names(names: Iterable[str]) -> set[str]:
    """Return the options' names, aliases replaced by the first name."""
    args = flags.unaliased([f"--{name}" for name in names])
    return {arg.removeprefix("--") for arg in args}


def seeds_of(path: Path, seeds: Any) -> list[int]:
    """Return the seeds that a list, or their number, stands for."""
    if isinstance(seeds, int) and not isinstance(seeds, bool) and seeds > 0:
        return list(range(seeds))
    whole = isinstance(seeds, list) and all(type(seed) is int for seed in seeds)
    if not whole or not seeds:
        raise UserError(
            f"{path}: seeds = {seeds!r} must be a list of whole numbers, or the number "
            "of seeds"
        )
    return list(seeds)


def number(path: Path, name: str, value: Any, least: int) -> int:
    """Return a whole number, or refuse another value."""
    if type(value) is not int or value < least:
        raise UserError(
            f"{path}: {name} = {value!r} must be a whole number of at least {least}"
        )
    return value


def slurm_options(path: Path, table: Any) -> dict[str, str]:
    """Return ``sbatch`` options, with dashes in their names."""
    options = options_of(path, "slurm", table)
    for name, value in options.items():
        if isinstance(value, list) or "\n" in str(value):
            raise UserError(f"{path}: slurm: {name} = {value!r} must be one value")
    return {name.replace("_", "-"): str(value) for name, value in options.items()}


def flags_of(options: Mapping[str, Value]) -> list[str]:
    """Return the flags of ``train`` that options stand for."""
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


def config_of(path: Path, name: str, args: Sequence[str]) -> Config:
    """Return the settings that flags give; refuse invalid ones.

    Args:
        path: The sweep's file, for messages.
        name: The run, for messages.
        args: Flags of ``train``.

    Raises:
        UserError: If a flag or a value is wrong.
    """
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


def name_of(varied: Mapping[str, Value]) -> str:
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


def check_existing(job: Job) -> None:
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
