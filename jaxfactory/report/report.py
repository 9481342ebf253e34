"""``jaxfactory report``: writes one self-contained HTML page about one or more runs."""

# ruff: noqa: T201 - the command prints the page's path.

import base64
import datetime
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from markupsafe import Markup

from jaxfactory._util.errors import UserError
from jaxfactory.config import runs
from jaxfactory.report import charts, html_page, population, run_data, tables
from jaxfactory.report.run_data import Group, Run
from jaxfactory.report.svg_shapes import COLORS


# A page with larger videos loads too slowly.
VIDEO_BYTES = 40_000_000


@dataclass(frozen=True, kw_only=True)
class ReportOptions:
    """Write an HTML page about a run, or one that compares several runs.

    Runs that differ only in the seed are shown as their mean, with a band of one
    standard deviation over the seeds.
    """

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional] = ()
    """Runs, or directories with runs below them; by default the run saved last."""
    output: Path | None = None
    """The HTML file; by default report.html in the run or the runs' parent."""


def run(options: ReportOptions) -> Path:
    """Write the page and print its path.

    Raises:
        UserError: If a path is not a run, a run has no metrics, or the page cannot be
            written.
    """
    named = options.runs or (runs.find_newest_run(),)
    paths = run_data.find(named)
    output = options.output or _default_output(named, paths)
    size = write(paths, output)
    what = "1 run" if len(paths) == 1 else f"{len(paths)} runs"
    print(f"{what}: {output} ({size / 1e6:.1f} MB); open it in a browser")
    return output


def write(paths: Sequence[Path], output: Path, title: str | None = None) -> int:
    """Write the page about some runs and return its size in bytes.

    Args:
        paths: One or more run directories.
        output: The HTML file; replaced only when the new one is complete.
        title: The page's title; by default the runs' scenarios.

    Raises:
        UserError: If a run cannot be read or the page cannot be written.
    """
    page = render([run_data.read(path) for path in paths], title)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        runs.write_atomically(output, page)
    except OSError as error:
        raise UserError(
            f"{output} cannot be written ({error.strerror}); give --output another path"
        ) from error
    return len(page.encode())


def render(members: Sequence[Run], title: str | None = None) -> str:
    """Return the HTML of the page about one or more runs."""
    groups = run_data.group(members)
    first = members[0]
    several = len(members) > 1
    scenarios = dict.fromkeys(Path(run.config.env.scenario).stem for run in members)
    context = {
        "title": title or ", ".join(scenarios),
        "subtitle": f"{len(members)} runs" if several else first.name,
        "date": datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M"),
        "several": several,
        "tiles": [] if several else tables.tiles(first),
        "groups": [tables.group_row(number, one) for number, one in enumerate(groups)],
        "runs": [tables.run_row(run) for run in members],
        "returns": charts.returns(groups),
        "population": [] if several else population.charts(first),
        "evaluations": charts.evaluation_curves(groups),
        "histograms": charts.histograms(groups),
        "scored": any(run.evaluation for run in members),
        "scores": tables.scores(groups),
        "videos": _videos(groups),
        "throughput": charts.throughput(groups),
        "phases": charts.phases(first) if not several else [],
        "phase_rows": tables.phase_rows(groups),
        "bottleneck": ""
        if several or not first.phases.seconds
        else first.phases.bottleneck(),
        "losses": charts.losses(groups),
        "others": charts.others(groups),
        "settings": tables.settings(groups),
        "colors": COLORS,
        "script": Markup(html_page.text_of("report/templates/report.js")),
    }
    return html_page.render("report/templates/report.html", **context)


def _default_output(named: Sequence[Path], paths: Sequence[Path]) -> Path:
    if len(named) == 1:
        return named[0] / "report.html"
    return Path(os.path.commonpath([path.resolve() for path in paths])) / "report.html"


def _videos(groups: Sequence[Group]) -> list[dict[str, str]]:
    """Return one video per group, that of the run with the highest evaluation."""
    videos, left = [], VIDEO_BYTES
    for group in groups:
        with_video = [run for run in group.runs if run.video]
        if not with_video:
            continue
        best = max(with_video, key=_score)
        assert best.video is not None
        label = group.label if len(groups) > 1 else best.video.name
        size = best.video.stat().st_size
        if size > left:
            videos.append({"label": label, "data": "", "path": str(best.video)})
            continue
        left -= size
        data = base64.b64encode(best.video.read_bytes()).decode()
        videos.append({"label": label, "data": data, "path": str(best.video)})
    return videos


def _score(run: Run) -> float:
    return run.evaluation["raw_return"]["mean"] if run.evaluation else -math.inf
