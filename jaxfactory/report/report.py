"""``jaxfactory report``: one self-contained HTML page about a run, or several."""

# ruff: noqa: T201 - the command says where the page is.

import base64
import datetime
import importlib.resources
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from markupsafe import Markup

from jaxfactory._util.errors import UserError
from jaxfactory.config import flat_text, runs
from jaxfactory.evaluation import evaluation_file
from jaxfactory.evaluation.evaluation_file import STATISTICS
from jaxfactory.metrics.time_breakdown import NAMES as PHASE_NAMES
from jaxfactory.report import charts, run_data
from jaxfactory.report.run_data import Group, Run
from jaxfactory.report.svg_charts import COLORS
from jaxfactory.scenarios.maps import map_notes


# A page with more than this in videos opens too slowly.
_VIDEO_BYTES = 40_000_000


@dataclass(frozen=True, kw_only=True)
class ReportOptions:
    """Write one HTML page about a run, or one that compares several.

    Runs of equal settings but for the seed are shown as their mean, with a band of one
    standard deviation over the seeds.
    """

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional] = ()
    """Run directories, or directories with runs below them; without any, the run under
    runs/ that was saved last."""
    output: Path | None = None
    """The page; without it, report.html in the run, or where the runs lie."""


def run(options: ReportOptions) -> Path:
    """Write the page and say where it is.

    Raises:
        UserError: If a path is no run, a run has no metrics, or the page cannot be
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
        paths: Run directories, at least one.
        output: The page; replaced only once it is complete.
        title: By default the runs' scenario.

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
    """Return the page about some runs, at least one."""
    import jinja2

    groups = run_data.group(members)
    first = members[0]
    several = len(members) > 1
    scenarios = dict.fromkeys(Path(run.config.env.scenario).stem for run in members)
    context = {
        "title": title or ", ".join(scenarios),
        "subtitle": f"{len(members)} runs" if several else first.name,
        "date": datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M"),
        "several": several,
        "tiles": [] if several else _tiles(first),
        "groups": [_group_row(number, one) for number, one in enumerate(groups)],
        "runs": [_run_row(run) for run in members],
        "returns": charts.returns(groups),
        "evaluations": charts.evaluation_curves(groups),
        "histograms": charts.histograms(groups),
        "scored": any(run.evaluation for run in members),
        "scores": _scores(groups),
        "videos": _videos(groups),
        "throughput": charts.throughput(groups),
        "phases": charts.phases(first) if not several else [],
        "phase_rows": _phase_rows(groups),
        "bottleneck": ""
        if several or not first.phases.seconds
        else first.phases.bottleneck(),
        "losses": charts.losses(groups),
        "others": charts.others(groups),
        "settings": _settings(groups),
        "colors": COLORS,
    }
    folder = importlib.resources.files("jaxfactory.report") / "templates"
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    style, script = (
        Markup((folder / name).read_text()) for name in ("report.css", "report.js")
    )
    template = environment.from_string((folder / "report.html").read_text())
    return template.render(**context, style=style, script=script)


def _default_output(named: Sequence[Path], paths: Sequence[Path]) -> Path:
    if len(named) == 1:
        return named[0] / "report.html"
    return Path(os.path.commonpath([path.resolve() for path in paths])) / "report.html"


def _tiles(one: Run) -> list[tuple[str, str, str]]:
    """Return (title, number, remark)."""
    seconds = one.last("time/wall_clock")
    tiles = [
        ("frames", f"{one.frames[-1]:,.0f}", f"of {one.config.total_frames:,}"),
        ("time", _duration(seconds), one.config.mode),
        ("frames/s", f"{_rate(one):,.0f}", "over the whole run"),
    ]
    returns = [("raw_return", "raw return"), ("shaped_return", "shaped return")]
    for name, title in returns[: 2 if run_data.are_shaped([one]) else 1]:
        mean, std = one.last(f"episode/{name}"), one.last(f"episode/{name}_std")
        if math.isfinite(mean):
            spread = f"{mean:.2f} ± {std:.2f}"
            tiles.append((title, spread, "last 100 episodes of training"))
    if one.evaluation:
        row = one.evaluation["raw_return"]
        remark = f"raw return, {one.evaluation['episodes']} episodes"
        tiles.append(("evaluation", f"{row['mean']:.2f} ± {row['std']:.2f}", remark))
    return tiles


def _group_row(number: int, group: Group) -> dict[str, Any]:
    members = group.runs
    return {
        "color": number % COLORS,
        "dashed": number >= COLORS,
        "label": group.label,
        "seeds": len(members),
        "frames": _spread([run.frames[-1] for run in members], ",.0f"),
        "time": _duration(float(np.mean([m.last("time/wall_clock") for m in members]))),
        "rate": _spread([_rate(run) for run in members], ",.0f"),
        "own": _spread([run.last("episode/raw_return") for run in members], ".2f"),
        "shaped": _spread(
            [run.last("episode/shaped_return") for run in members], ".2f"
        ),
        "score": _spread(
            [run.evaluation["raw_return"]["mean"] for run in members if run.evaluation],
            ".2f",
        ),
    }


def _run_row(run: Run) -> dict[str, str]:
    return {
        "name": str(run.path),
        "seed": str(run.config.seed),
        "frames": f"{run.frames[-1]:,.0f}",
        "own": _plain(run.last("episode/raw_return"), ".2f"),
        "shaped": _plain(run.last("episode/shaped_return"), ".2f"),
    }


def _scores(groups: Sequence[Group]) -> list[dict[str, str]]:
    """Return the rows of the evaluations' table."""
    rows = []
    for group in groups:
        scored = [run for run in group.runs if run.evaluation]
        for run in scored:
            result = run.evaluation or {}
            how = "most probable" if result.get("deterministic") else "sampled"
            titles = evaluation_file.summary_titles(run.config.env.scenario)
            for name, what in titles.items():
                if name not in result:
                    continue
                first = name == "raw_return"
                label = f"{group.label}, seed {run.config.seed}"
                rows.append({
                    "run": (label if len(groups) > 1 or len(scored) > 1 else run.name)
                    if first else "",
                    "detail": f"{result['episodes']} episodes, {how} actions, "
                    f"{result['checkpoint']} checkpoint at "
                    f"{result['frames_trained']:,} frames" if first else "",
                    "map": map_notes.of_result(result) if first else "",
                    "what": what,
                    **{key: f"{result[name][key]:.2f}" for key in STATISTICS},
                })  # fmt: skip
    return rows


def _videos(groups: Sequence[Group]) -> list[dict[str, str]]:
    """Return one video a group: of its best evaluated run that has one."""
    videos, left = [], _VIDEO_BYTES
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


def _phase_rows(groups: Sequence[Group]) -> list[dict[str, Any]]:
    """Return the rows of the table of phases: mean shares over a group's runs."""
    rows = []
    for number, group in enumerate(groups):
        for thread in dict.fromkeys(
            t for run in group.runs for t in run.phases.threads
        ):
            phases = [run.phases for run in group.runs if run.phases.seconds]
            seconds = [one.threads.get(thread, {}) for one in phases]
            if not phases:
                continue
            shares = {
                phase: float(np.mean([
                    part.get(phase, 0.0) / one.seconds
                    for part, one in zip(seconds, phases)
                ]))
                for phase in PHASE_NAMES if any(phase in part for part in seconds)
            }  # fmt: skip
            rows.append({
                "group": group.label if len(groups) > 1 else "",
                "color": number % COLORS,
                "dashed": number >= COLORS,
                "thread": thread,
                "phases": [
                    {
                        "name": PHASE_NAMES[phase],
                        "share": share,
                        "color": charts.PHASE_COLORS[phase],
                        "seconds": float(np.mean([p.get(phase, 0.0) for p in seconds])),
                    }
                    for phase, share in shares.items()
                ],
            })  # fmt: skip
    return rows


def _settings(groups: Sequence[Group]) -> dict[str, Any]:
    """Return the tables of settings: what is special first, then everything."""
    one = len(groups) == 1 and len(groups[0].runs) == 1
    flat = flat_text.flat if one else flat_text.training
    rows = [flat(group.runs[0].config) for group in groups]
    varied = flat_text.differing(rows)
    preset, changed = flat_text.nearest_preset(groups[0].runs[0].config)
    return {
        "preset": preset,
        "changed": [
            (key, before, after)
            for key, (before, after) in changed.items()
            if key not in varied
        ],
        "varied": [(key, [row.get(key, "-") for row in rows]) for key in varied],
        "all": [(key, value) for key, value in rows[0].items() if key not in varied],
    }


def _rate(run: Run) -> float:
    seconds = run.last("time/wall_clock")
    return float(run.frames[-1]) / seconds if seconds > 0 else math.nan


def _plain(value: float, spec: str) -> str:
    return f"{value:{spec}}" if math.isfinite(value) else "-"


def _spread(values: Sequence[float], spec: str) -> str:
    good = [value for value in values if math.isfinite(value)]
    if not good:
        return "-"
    mean = f"{np.mean(good):{spec}}"
    if len(good) == 1 or len(set(good)) == 1:
        return mean
    return f"{mean} ± {np.std(good):{spec}}"


def _duration(seconds: float) -> str:
    if not math.isfinite(seconds):
        return "-"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"
