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
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxfactory._util.errors import UserError
from jaxfactory.sweep.sweep_table import (
    Job,
    Sweep,
    Value,
    check_existing,
    config_of,
    first_names,
    flags_of,
    name_of,
    options_of,
    read_common,
)


_KEYS = ("command", "seeds", "parallel", "evaluate", "grid", "list", "slurm")


def read(path: Path, folder: Path | None = None) -> Sweep:
    """Read a file and check every run in it.

    Args:
        path: The TOML file.
        folder: Directory of the runs; by default ``runs/sweeps/<name of the file>``.

    Raises:
        UserError: If the file or an option in it is invalid.
    """
    table, command, seeds, sweep = read_common(path, _KEYS, folder)
    combinations = _combinations(path, command, table)
    jobs = []
    for varied, seed in itertools.product(combinations, seeds):
        name = name_of({**varied, "seed": seed})
        args = [*flags_of({**command, **varied}), f"--seed={seed}"]
        jobs.append(Job(name, sweep.folder / name, args, config_of(path, name, args)))
    names = [job.name for job in jobs]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise UserError(f"{path}: the run {twice!r} occurs twice; remove one of them")
    for job in jobs:
        check_existing(job)
    return sweep._replace(jobs=jobs)


def _combinations(
    path: Path, command: Mapping[str, Value], table: Mapping[str, Any]
) -> list[dict[str, Value]]:
    grid = options_of(path, "grid", table.get("grid", {}))
    for name, values in grid.items():
        if not isinstance(values, list) or not values:
            raise UserError(
                f"{path}: grid: {name} must be a list of values, not {values!r}"
            )
    rows = table.get("list", [{}])
    if not isinstance(rows, list) or not rows:
        raise UserError(f"{path}: list must be a list of tables of options")
    listed = [options_of(path, "list", row) for row in rows]
    names = {
        "command": first_names(command),
        "grid": first_names(grid),
        "list": first_names(k for r in listed for k in r),
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
