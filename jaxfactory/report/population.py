"""Charts of a population: who copied whom, settings and objectives over the frames."""

import math
import warnings
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from markupsafe import escape

from jaxfactory._util.errors import UserError
from jaxfactory.config import runs
from jaxfactory.population import history
from jaxfactory.population.history import Event
from jaxfactory.report import run_data
from jaxfactory.report.charts import Chart
from jaxfactory.report.run_data import Run
from jaxfactory.report.svg_charts import line_chart
from jaxfactory.report.svg_shapes import (
    COLORS,
    LEFT,
    Scale,
    Series,
    frame_labels,
    picture,
    scales,
    short,
)


_POINTS = 200
# More would be a smear, and a file may have any number.
_MOST_EVENTS = 4_000
_MOST_LABELS = 16
# Settings that differ by more than this factor are drawn on a logarithmic scale.
_WIDE = 8.0


def charts(run: Run) -> list[Chart]:
    """Return the charts of a run of several policies; none for other runs."""
    count = run.config.population.num_policies
    if count == 1:
        return []
    try:
        events = history.read(run.path / runs.POPULATION)
    except UserError as error:  # The report still shows the rest.
        warnings.warn(f"{error}; the report leaves it out", stacklevel=2)
        return []
    end = max(float(run.frames[-1]), 1.0)
    events = [e for e in events if e.policy < count and e.frames <= end]
    if not events:
        return []
    events = [e for e in events if e.kind == "start"] + [
        e for e in events if e.kind != "start"
    ][-_MOST_EVENTS:]
    grid = np.linspace(0.0, end, _POINTS)
    legend = tuple((i % COLORS, f"policy {i}") for i in range(min(count, COLORS)))
    return [
        lineage(events, count, end),
        *_objectives(run, count, legend),
        *_settings(events, count, grid, legend),
    ]


def lineage(events: Sequence[Event], count: int, end: float) -> Chart:
    """Draw a lane for each policy, in the color of the first policy it stems from.

    Args:
        events: What happened, in order.
        count: Number of policies.
        end: Frames of each policy at the right edge.
    """
    across, up = scales((0.0, end), (0.0, max(count - 1.0, 1.0)), pad=True)
    # Policy 0 is the uppermost lane.
    up = Scale(up.low, up.high, up.end, up.start)
    origin, since = list(range(count)), [0.0] * count
    lanes, links, marks = [], [], []

    def lane(policy: int, until: float) -> None:
        """Draw a lane up to a moment."""
        y = up(float(policy))
        lanes.append(
            f'<line class="curve s{origin[policy] % COLORS}" y1="{y}" y2="{y}" '
            f'x1="{across(since[policy])}" x2="{across(until)}"/>'
        )
        since[policy] = until

    for event in events:
        x, y = across(float(event.frames)), up(float(event.policy))
        if event.kind == "copy" and event.parent is not None and event.parent < count:
            lane(event.policy, float(event.frames))
            origin[event.policy] = origin[event.parent]
            there = up(float(event.parent))
            links.append(
                f'<line class="curve thin s{origin[event.parent] % COLORS}" x1="{x}" '
                f'x2="{x}" y1="{there}" y2="{y}"/>'
            )
        if event.kind in ("copy", "mutate"):
            size = 3.2 if event.kind == "copy" else 1.8
            marks.append(
                f'<circle class="dot s{origin[event.policy] % COLORS}" cx="{x}" '
                f'cy="{y}" r="{size}"><title>{escape(_told(event))}</title></circle>'
            )
    for policy in range(count):
        lane(policy, end)
    step = -(-count // _MOST_LABELS)
    labels = [
        f'<text x="{LEFT - 6}" y="{up(float(i)) + 3.5:.1f}" '
        f'text-anchor="end">{i}</text>'
        for i in range(0, count, step)
    ]
    parts = [frame_labels(across), *labels, *links, *lanes, *marks]
    title = "lineage: who became a copy of whom"
    survivors = sorted(set(origin))
    note = (
        "a lane for each policy, in the color of the first one that it stems from; "
        "large dots are copies, small ones mutations; "
        f"{len(survivors)} of {count} lines survive"
    )
    return Chart("lineage", picture(parts, title), note)


def _told(event: Event) -> str:
    """Return an event as text."""
    text = f"{event.frames:,} frames: policy {event.policy}"
    if event.score is not None:
        text += f" ({event.score:.2f})"
    if event.parent is not None:
        text += f" becomes a copy of {event.parent}"
        if event.parent_score is not None:
            text += f" ({event.parent_score:.2f})"
    settings = ", ".join(f"{name} {short(x)}" for name, x in event.values.items())
    return f"{text}; {settings}"


def _objectives(
    run: Run, count: int, legend: tuple[tuple[int, str], ...]
) -> list[Chart]:
    name = run.config.population.pbt_objective
    grid = run_data.common_grid([run], _POINTS)
    series = [
        Series(f"policy {i}", run_data.sample(run, f"policy_{i}/{name}", grid), color=i)
        for i in range(count)
        if f"policy_{i}/{name}" in run.columns
    ]
    if not series:
        return []
    title = f"{name.replace('_', ' ')} of each policy"
    return [Chart(title, line_chart(grid, series, title=title), "", legend)]


def _settings(
    events: Sequence[Event],
    count: int,
    grid: Float[np.ndarray, "G"],
    legend: tuple[tuple[int, str], ...],
) -> list[Chart]:
    """Return a chart of each setting that is not always the same."""
    found = []
    for name in sorted({name for event in events for name in event.values}):
        columns = [_steps(events, policy, name, grid) for policy in range(count)]
        every = np.concatenate(columns)
        every = every[np.isfinite(every)]
        if not every.size or every.min() == every.max():
            continue
        title, note = name.replace("_", " ").replace("/", ": "), ""
        if every.min() > 0 and every.max() / every.min() > _WIDE:
            columns = [np.log10(column) for column in columns]
            note = "logarithm to base 10"
        series = [
            Series(f"policy {i}", column, color=i) for i, column in enumerate(columns)
        ]
        found.append(Chart(title, line_chart(grid, series, title=title), note, legend))
    return found


def _steps(
    events: Sequence[Event], policy: int, name: str, grid: Float[np.ndarray, "G"]
) -> Float[np.ndarray, "G"]:
    """Return a policy's setting at each point; NaN before the first event."""
    own = [
        (event.frames, event.values.get(name, math.nan))
        for event in events
        if event.policy == policy and event.kind != "skip"
    ]
    if not own:
        return np.full(len(grid), np.nan)
    frames = np.array([frames for frames, _ in own], np.float64)
    values = np.array([math.nan, *(value for _, value in own)], np.float64)
    return values[np.searchsorted(frames, grid, side="right")]
