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

from jaxfactory import map_notes, report_charts, run_data, runs, settings
from jaxfactory.charts import COLORS
from jaxfactory.errors import UserError
from jaxfactory.evaluation_file import STATISTICS
from jaxfactory.legs import NAMES as LEG_NAMES
from jaxfactory.run_data import Group, Run


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
        "returns": report_charts.returns(groups),
        "evaluations": report_charts.evaluation_curves(groups),
        "histograms": report_charts.histograms(groups),
        "scored": any(run.evaluation for run in members),
        "scores": _scores(groups),
        "videos": _videos(groups),
        "throughput": report_charts.throughput(groups),
        "legs": report_charts.legs(first) if not several else [],
        "leg_rows": _leg_rows(groups),
        "verdict": "" if several or not first.legs.seconds else first.legs.verdict(),
        "losses": report_charts.losses(groups),
        "others": report_charts.others(groups),
        "settings": _settings(groups),
        "colors": COLORS,
    }
    folder = importlib.resources.files("jaxfactory") / "templates"
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
    returns = [("own_return", "own return"), ("return", "shaped return")]
    for name, title in returns[: 2 if run_data.are_shaped([one]) else 1]:
        mean, std = one.last(f"episode/{name}"), one.last(f"episode/{name}_std")
        if math.isfinite(mean):
            spread = f"{mean:.2f} ± {std:.2f}"
            tiles.append((title, spread, "last 100 episodes of training"))
    if one.evaluation:
        row = one.evaluation["own_return"]
        remark = f"own return, {one.evaluation['episodes']} episodes"
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
        "own": _spread([run.last("episode/own_return") for run in members], ".2f"),
        "shaped": _spread([run.last("episode/return") for run in members], ".2f"),
        "score": _spread(
            [run.evaluation["own_return"]["mean"] for run in members if run.evaluation],
            ".2f",
        ),
    }


def _run_row(run: Run) -> dict[str, str]:
    return {
        "name": str(run.path),
        "seed": str(run.config.seed),
        "frames": f"{run.frames[-1]:,.0f}",
        "own": _plain(run.last("episode/own_return"), ".2f"),
        "shaped": _plain(run.last("episode/return"), ".2f"),
    }


def _scores(groups: Sequence[Group]) -> list[dict[str, str]]:
    """Return the rows of the evaluations' table."""
    rows = []
    for group in groups:
        scored = [run for run in group.runs if run.evaluation]
        for run in scored:
            result = run.evaluation or {}
            how = "most probable" if result.get("deterministic") else "sampled"
            titles = run_data.summary_titles(run.config.env.scenario)
            for name, what in titles.items():
                if name not in result:
                    continue
                first = name == "own_return"
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
    return run.evaluation["own_return"]["mean"] if run.evaluation else -math.inf


def _leg_rows(groups: Sequence[Group]) -> list[dict[str, Any]]:
    """Return the rows of the table of legs: mean shares over a group's runs."""
    rows = []
    for number, group in enumerate(groups):
        for thread in dict.fromkeys(t for run in group.runs for t in run.legs.threads):
            legs = [run.legs for run in group.runs if run.legs.seconds]
            seconds = [one.threads.get(thread, {}) for one in legs]
            if not legs:
                continue
            shares = {
                leg: float(np.mean([
                    part.get(leg, 0.0) / one.seconds
                    for part, one in zip(seconds, legs)
                ]))
                for leg in LEG_NAMES if any(leg in part for part in seconds)
            }  # fmt: skip
            rows.append({
                "group": group.label if len(groups) > 1 else "",
                "color": number % COLORS,
                "dashed": number >= COLORS,
                "thread": thread,
                "legs": [
                    {
                        "name": LEG_NAMES[leg],
                        "share": share,
                        "color": report_charts.LEG_COLORS[leg],
                        "seconds": float(np.mean([p.get(leg, 0.0) for p in seconds])),
                    }
                    for leg, share in shares.items()
                ],
            })  # fmt: skip
    return rows


def _settings(groups: Sequence[Group]) -> dict[str, Any]:
    """Return the tables of settings: what is special first, then everything."""
    one = len(groups) == 1 and len(groups[0].runs) == 1
    flat = settings.flat if one else settings.training
    rows = [flat(group.runs[0].config) for group in groups]
    varied = settings.differing(rows)
    preset, changed = settings.nearest_preset(groups[0].runs[0].config)
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
