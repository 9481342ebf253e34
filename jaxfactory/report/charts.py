"""Builds the report's charts from groups of runs.

The chart of one run shows the standard deviation over its episodes. The chart of
several shows, for each group, the mean and standard deviation over seeds.
"""

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from markupsafe import Markup

from jaxfactory.metrics.time_breakdown import NAMES as PHASE_NAMES
from jaxfactory.report import run_data
from jaxfactory.report.run_data import Group, Run
from jaxfactory.report.svg_charts import area_chart, histogram, line_chart
from jaxfactory.report.svg_shapes import Series


Values = Float[np.ndarray, "N"]

_POINTS = 200

PHASE_COLORS = {
    "engine_wait": 1,
    "transfer": 5,
    "act": 2,
    "policy_wait": 7,
    "handover_wait": 7,
    "update": 0,
    "checkpoint": 3,
    "rest": 6,
}
# The most important losses come first; all others follow by name.
_LOSSES_FIRST = (
    "policy_loss", "value_loss", "entropy", "approx_kl", "clip_fraction",
    "explained_variance", "grad_norm", "learning_rate",
)  # fmt: skip
# Metrics that have charts of their own or need none.
_KNOWN = re.compile(r"(episode|losses|throughput|time|evaluation|policy_\d+)/")


class Chart(NamedTuple):
    """A titled chart.

    Attributes:
        note: Meaning of the line and the band.
        legend: (color, name) of each series, if there are several.
    """

    title: str
    svg: Markup
    note: str = ""
    legend: tuple[tuple[int, str], ...] = ()


def returns(groups: Sequence[Group]) -> list[Chart]:
    """Return the charts of training episodes."""
    charts = _chart(groups, "episode/raw_return", "raw return", spread=True)
    if _are_shaped(groups):
        charts += _chart(groups, "episode/shaped_return", "shaped return", spread=True)
    charts += _chart(
        groups, "episode/raw_return", "raw return over time", x=_minutes, spread=True
    )
    for metric, title in (
        ("episode/length", "episode length"),
        ("episode/frags", "frags"),
        ("episode/place", "place"),
    ):
        charts += _chart(groups, metric, title, spread=True)
    return charts


def evaluation_curves(groups: Sequence[Group]) -> list[Chart]:
    """Return the charts of evaluations during training."""
    charts = []
    for metric, title in (
        ("evaluation/raw_return", "raw return, evaluation"),
        ("evaluation/shaped_return", "shaped return, evaluation"),
        ("evaluation/frags", "frags, evaluation"),
    ):
        if metric != "evaluation/shaped_return" or _are_shaped(groups):
            charts += _chart(groups, metric, title, spread=True)
    return charts


def _are_shaped(groups: Sequence[Group]) -> bool:
    return run_data.are_shaped(run for group in groups for run in group.runs)


def histograms(groups: Sequence[Group]) -> list[Chart]:
    """Return histograms of the evaluated returns.

    A single group gets both returns, several groups the raw return of each.
    """
    names = ("raw_return", "shaped_return")
    titles = {"raw_return": "raw return", "shaped_return": "shaped return"}
    charts = []
    pooled = {
        name: [_each(group.runs, name) for group in groups]
        for name in names[: 2 if len(groups) == 1 and _are_shaped(groups) else 1]
    }
    for name, columns in pooled.items():
        found = [values for values in columns if values.size]
        if not found:
            continue
        every = np.concatenate(found)
        limits = float(every.min()), float(every.max())
        for number, (group, values) in enumerate(zip(groups, columns)):
            if not values.size:
                continue
            title = titles[name]
            if len(groups) > 1:
                title = f"{title}: {group.label}"
            svg = histogram(
                values, title=f"histogram of the {title}", color=number, limits=limits
            )
            charts.append(Chart(title, svg, f"{values.size} episodes"))
    return charts


def throughput(groups: Sequence[Group]) -> list[Chart]:
    """Return the chart of frames per second."""
    return _chart(groups, "throughput/frames_per_second", "frames/s", from_zero=True)


def phases(run: Run) -> list[Chart]:
    """Return each thread's time breakdown over the frames, as stacked areas."""
    wall = run.columns.get("time/wall_clock")
    if wall is None or not run.phases.seconds:
        return []
    grid = run_data.common_grid([run], _POINTS // 2)
    elapsed = np.full_like(wall, np.nan)
    good = np.flatnonzero(np.isfinite(wall))
    elapsed[good[1:]] = np.diff(wall[good])
    timed = run._replace(columns={**run.columns, "elapsed": elapsed})
    total = np.maximum(run_data.sample(timed, "elapsed", grid), 1e-9)
    charts = []
    for thread, parts in run.phases.threads.items():
        layers, used = [], np.zeros_like(grid)
        for phase in parts:
            if phase == "rest":
                share = np.maximum(1.0 - used, 0.0)
            else:
                seconds = np.nan_to_num(run_data.sample(run, f"time/{phase}", grid))
                # Binning may move a short, rare phase into a neighboring bin, where the
                # fractions would then exceed 1.
                share = np.clip(seconds / total, 0.0, 1.0 - used)
            used = used + share
            layers.append(Series(PHASE_NAMES[phase], share, color=PHASE_COLORS[phase]))
        svg = area_chart(grid, layers, title=f"time breakdown of the {thread}")
        legend = tuple((layer.color, layer.name) for layer in layers)
        title = f"time breakdown, {thread}"
        charts.append(Chart(title, svg, "fraction of the time", legend))
    return charts


def losses(groups: Sequence[Group]) -> list[Chart]:
    """Return a chart of each loss and what is measured with them."""
    names = _metrics(groups, "losses/")
    first = [f"losses/{name}" for name in _LOSSES_FIRST]
    ordered = [name for name in first if name in names]
    ordered += [name for name in names if name not in first]
    return [
        chart
        for name in ordered
        for chart in _chart(groups, name, name.partition("/")[2].replace("_", " "))
    ]


def others(groups: Sequence[Group]) -> list[Chart]:
    """Return a chart of each metric that has no place elsewhere and ever changes."""
    names = [name for name in _metrics(groups, "") if not _KNOWN.match(name)]
    return [
        chart
        for name in names
        if _changes(groups, name)
        for chart in _chart(groups, name, name.replace("_", " "))
    ]


def _chart(
    groups: Sequence[Group],
    metric: str,
    title: str,
    *,
    x: Callable[[Run], Values] | None = None,
    spread: bool = False,
    from_zero: bool = False,
) -> list[Chart]:
    """Return the chart of a metric, or nothing where no run has it."""
    members = [run for group in groups for run in group.runs if metric in run.columns]
    if not members:
        return []
    if x is None:
        grid = run_data.common_grid(members, _POINTS)
    else:
        members = [run for run in members if np.isfinite(x(run)).any()]
        if not members:
            return []
        end = max(float(np.nanmax(x(run))) for run in members)
        grid = np.linspace(end / _POINTS, end, _POINTS)
    series, note = [], ""
    for number, group in enumerate(groups):
        found = [run for run in group.runs if metric in run.columns]
        if not found:
            continue
        places = [x(run) if x else None for run in found]
        columns = [
            run_data.sample(run, metric, grid, place)
            for run, place in zip(found, places)
        ]
        curve = run_data.over_runs(columns)
        low, high = curve.low, curve.high
        if len(members) == 1 and spread and f"{metric}_std" in found[0].columns:
            std = run_data.sample(found[0], f"{metric}_std", grid, places[0])
            low, high, note = curve.mean - std, curve.mean + std, "± std of episodes"
        elif len(found) > 1:
            note = "mean ± std of seeds"
        series += [
            Series(group.label, rest, color=number, thin=True)
            for rest in curve.rest
            if np.isfinite(rest).sum() > 1
        ]
        name = group.label_with_seeds() if len(groups) > 1 else title
        series.append(Series(name, curve.mean, low, high, number))
    svg = line_chart(
        grid,
        series,
        title=title,
        x_name="minutes" if x else "frames",
        from_zero=from_zero,
    )
    return [Chart(title, svg, f"{note}, minutes" if x and note else note)]


def _minutes(run: Run) -> Values:
    missing = np.full_like(run.frames, np.nan)
    return run.columns.get("time/wall_clock", missing) / 60


def _metrics(groups: Sequence[Group], prefix: str) -> list[str]:
    names = {name for group in groups for run in group.runs for name in run.columns}
    return sorted(name for name in names if name.startswith(prefix))


def _changes(groups: Sequence[Group], metric: str) -> bool:
    for group in groups:
        for run in group.runs:
            values = run.columns.get(metric, np.zeros(1))
            values = values[np.isfinite(values)]
            if values.size and values.min() != values.max():
                return True
    return False


def _each(members: Sequence[Run], name: str) -> Values:
    """Return a field of every evaluated episode of some runs."""
    values = [
        float(episode[name])
        for run in members
        if run.evaluation
        for episode in run.evaluation["each"]
    ]
    return np.array(values, np.float64)
