"""Reads a run's metrics, evaluation, settings and video for the report.

Nothing here writes to a run or imports JAX.
"""

import json
import math
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from jaxfactory._util.errors import UserError
from jaxfactory.config import families, flat_text, runs
from jaxfactory.config.train import Config
from jaxfactory.evaluation import evaluation_file
from jaxfactory.metrics import metrics_file
from jaxfactory.metrics.time_breakdown import TimeBreakdown


Values = Float[np.ndarray, "N"]
Grid = Float[np.ndarray, "G"]


class Run(NamedTuple):
    """The data of one run.

    Attributes:
        path: The run directory.
        config: The run's settings.
        frames: Frames of each line in metrics.jsonl, ascending.
        columns: Metric -> its value in each line, NaN where it is missing.
        phases: The time breakdown.
        evaluation: The contents of evaluation.json, if it exists.
        video: The newest video, if there is one.
    """

    path: Path
    config: Config
    frames: Values
    columns: dict[str, Values]
    phases: TimeBreakdown
    evaluation: dict[str, Any] | None
    video: Path | None

    @property
    def name(self) -> str:
        """The last two parts of the path, usually scenario and date."""
        return "/".join(self.path.resolve().parts[-2:])

    def last(self, metric: str) -> float:
        """Return a metric's last finite value; NaN if there is none."""
        values = self.columns.get(metric, np.full(1, np.nan))
        good = values[np.isfinite(values)]
        return float(good[-1]) if good.size else math.nan


class Group(NamedTuple):
    """Runs that differ only in the seed.

    Attributes:
        label: The settings that distinguish it from the other groups.
        runs: One or more runs.
    """

    label: str
    runs: list[Run]

    def label_with_seeds(self) -> str:
        """Return the label, with the number of seeds if there are several."""
        number = len(self.runs)
        return self.label if number == 1 else f"{self.label} ({number} seeds)"


class Curve(NamedTuple):
    """A metric of several runs: mean and standard deviation at G grid points.

    Past the end of the shortest run the mean is NaN: the mean of the longer runs would
    not represent the group.

    Attributes:
        mean: Mean over the runs.
        low: Mean minus one standard deviation; NaN for a single run.
        high: Mean plus one standard deviation.
        rest: For each run, its values past the mean, from the last common point on.
    """

    mean: Grid
    low: Grid
    high: Grid
    rest: tuple[Grid, ...]


def find(paths: Sequence[Path]) -> list[Path]:
    """Return the given run directories, and those below other given directories.

    Raises:
        UserError: If a path is not a run and has no run below it.
    """
    found: dict[Path, None] = {}
    for path in paths:
        if runs.is_run(path):
            found[path] = None
            continue
        if not path.is_dir():
            raise UserError(f"{path} is not a directory; give report run directories")
        below = sorted(file.parent for file in path.glob(f"**/{runs.CONFIG}"))
        # Skip runs that have just started and have no metrics yet.
        below = [run for run in below if (run / runs.METRICS).is_file()]
        # The policies of a population are shown with it, unless they are named.
        inside = set(below)
        below = [run for run in below if runs.population_of(run) not in inside]
        if not below:
            raise UserError(
                f"{path} is not a run of jaxfactory and has no run with metrics below "
                f"it (no directory has both {runs.CONFIG} and {runs.METRICS})"
            )
        found.update(dict.fromkeys(below))
    return list(found)


def read(path: Path) -> Run:
    """Read a run.

    Raises:
        UserError: If it has no metrics yet, or a file cannot be read.
    """
    config = runs.load_config(path)
    file = path / runs.METRICS
    rows = metrics_file.read(file)
    if not rows:
        raise UserError(
            f"the run {path} has no metrics yet ({file}); train it first with "
            f"`jaxfactory train --run {path}`"
        )
    phases = TimeBreakdown()
    for row in rows:
        phases.add(row)
    names = sorted({name for row in rows for name in row} - {"frames"})
    columns = {
        name: np.array([row.get(name, math.nan) for row in rows]) for name in names
    }
    frames = np.array([row["frames"] for row in rows], np.float64)
    evaluation = _read_evaluation(path / "evaluation.json")
    return Run(path, config, frames, columns, phases, evaluation, _newest_video(path))


def _read_evaluation(file: Path) -> dict[str, Any] | None:
    try:
        data = evaluation_file.read(file, "evaluate the run again")
    except evaluation_file.NoEpisodes:
        return None
    except UserError as error:  # The report still shows the other runs.
        warnings.warn(f"{error}; the report leaves it out", stacklevel=2)
        return None
    return data if data and data["each"] else None


def are_shaped(members: Iterable[Run]) -> bool:
    """Whether any run has shaped rewards; Gymnasium's environments do not."""
    return any(families.of(run.config.env.scenario).shapes_rewards for run in members)


def _newest_video(path: Path) -> Path | None:
    evaluated = path / "evaluation.mp4"
    if evaluated.is_file():
        return evaluated
    recorded = sorted((path / runs.VIDEOS).glob("*.mp4"))
    recorded = [file for file in recorded if ".unfinished" not in file.name]
    return recorded[-1] if recorded else None


def group(members: Iterable[Run]) -> list[Group]:
    """Group runs that differ only in the seed, in the given order."""
    by_settings: dict[str, list[Run]] = {}
    for run in members:
        key = json.dumps(flat_text.training(run.config), sort_keys=True)
        by_settings.setdefault(key, []).append(run)
    distinct = [flat_text.training(rows[0].config) for rows in by_settings.values()]
    varied = flat_text.differing(distinct)
    return [
        Group(_label(values, varied, rows[0]), rows)
        for values, rows in zip(distinct, by_settings.values())
    ]


def common_grid(members: Sequence[Run], size: int) -> Values:
    """Return about ``size`` grid points up to the last frame of any run."""
    # A run may have written a line at frame 0.
    end = max(1.0, *(float(run.frames[-1]) for run in members))
    longest = max(len(run.frames) for run in members)
    size = max(2, min(size, longest))
    return np.linspace(end / size, end, size)


def sample(run: Run, metric: str, grid: Grid, x: Values | None = None) -> Grid:
    """Resample a metric on a grid: the mean of the values in each cell.

    Empty cells are interpolated linearly. Before the first value and after the last the
    result is NaN.

    Args:
        run: The run.
        metric: A column's name.
        grid: Ascending, evenly spaced right edges of the cells.
        x: The grid's quantity for each line; frames by default.
    """
    x = run.frames if x is None else x
    y = run.columns.get(metric)
    if y is None:
        return np.full_like(grid, np.nan)
    good = np.isfinite(x) & np.isfinite(y)
    x, y = x[good], y[good]
    if not x.size:
        return np.full_like(grid, np.nan)
    step = float(grid[1] - grid[0])
    cell = np.clip(np.ceil((x - grid[0]) / step - 1e-9), 0, len(grid) - 1).astype(int)
    counts = np.bincount(cell, minlength=len(grid))
    sums = np.bincount(cell, weights=y, minlength=len(grid))
    filled = counts > 0
    means = sums[filled] / counts[filled]
    return np.interp(grid, grid[filled], means, left=np.nan, right=np.nan)


def over_runs(columns: Sequence[Grid]) -> Curve:
    """Return the mean and standard deviation over runs."""
    stacked = np.stack(columns)
    everyone = np.isfinite(stacked).all(axis=0)
    mean = np.where(everyone, stacked.mean(axis=0), np.nan)
    spread = np.where(everyone, stacked.std(axis=0), np.nan)
    if len(columns) == 1:
        spread = np.full_like(mean, np.nan)
    # The remaining lines start at the last point of the mean, so that they connect.
    joined = everyone & np.concatenate([everyone[1:], everyone[-1:]])
    rest = tuple(np.where(joined, np.nan, column) for column in stacked)
    return Curve(mean, mean - spread, mean + spread, rest)


def _label(values: dict[str, str], varied: Sequence[str], run: Run) -> str:
    if varied:
        return ", ".join(f"{key} {values.get(key, '-')}" for key in varied)
    return Path(run.config.env.scenario).stem
