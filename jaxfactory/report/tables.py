"""Builds the rows of the report's tables."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxfactory.config import flat_text
from jaxfactory.evaluation import evaluation_file
from jaxfactory.evaluation.evaluation_file import STATISTICS, standard_error
from jaxfactory.metrics.time_breakdown import NAMES as PHASE_NAMES
from jaxfactory.report import charts, run_data
from jaxfactory.report.run_data import Group, Run
from jaxfactory.report.svg_shapes import COLORS
from jaxfactory.scenarios.maps import map_notes


def tiles(one: Run) -> list[tuple[str, str, str]]:
    """Return the tiles at the top of a run's page: (title, number, remark)."""
    seconds = one.last("time/wall_clock")
    result = [
        ("frames", f"{one.frames[-1]:,.0f}", f"of {one.config.total_frames:,}"),
        ("time", _duration(seconds), one.config.mode),
        ("frames/s", f"{_rate(one):,.0f}", "over the whole run"),
    ]
    returns = [("raw_return", "raw return"), ("shaped_return", "shaped return")]
    for name, title in returns[: 2 if run_data.are_shaped([one]) else 1]:
        mean, std = one.last(f"episode/{name}"), one.last(f"episode/{name}_std")
        if math.isfinite(mean):
            spread = f"{mean:.2f} ± {std:.2f}"
            result.append((title, spread, "last 100 episodes of training"))
    if one.evaluation:
        row = one.evaluation["raw_return"]
        remark = f"raw return, {one.evaluation['episodes']} episodes"
        result.append(("evaluation", f"{row['mean']:.2f} ± {row['std']:.2f}", remark))
    return result


def group_row(number: int, group: Group) -> dict[str, Any]:
    """Return a group's row in the table of runs, averaged over its seeds."""
    members = group.runs
    return {
        "color": number % COLORS,
        "dashed": number >= COLORS,
        "label": group.label,
        "seeds": len(members),
        "frames": _spread([run.frames[-1] for run in members], ",.0f"),
        "time": _duration(float(np.mean([m.last("time/wall_clock") for m in members]))),
        "rate": _spread([_rate(run) for run in members], ",.0f"),
        "raw": _spread([run.last("episode/raw_return") for run in members], ".2f"),
        "shaped": _spread(
            [run.last("episode/shaped_return") for run in members], ".2f"
        ),
        "score": _spread(
            [run.evaluation["raw_return"]["mean"] for run in members if run.evaluation],
            ".2f",
        ),
    }


def run_row(run: Run) -> dict[str, str]:
    """Return a single run's row in the table of runs."""
    return {
        "name": str(run.path),
        "seed": str(run.config.seed),
        "frames": f"{run.frames[-1]:,.0f}",
        "raw": _plain(run.last("episode/raw_return"), ".2f"),
        "shaped": _plain(run.last("episode/shaped_return"), ".2f"),
    }


def scores(groups: Sequence[Group]) -> list[dict[str, str]]:
    """Return the rows of the table of evaluations."""
    rows = []
    for group in groups:
        scored = [run for run in group.runs if run.evaluation]
        for run in scored:
            result = run.evaluation or {}
            how = "most probable" if result.get("deterministic") else "sampled"
            which = str(result.get("checkpoint"))
            if which.isdigit():
                which = "kept"
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
                    f"{which} checkpoint at "
                    f"{result['frames_trained']:,} frames{_critic(run)}"
                    if first else "",
                    "map": map_notes.of_result(result) if first else "",
                    "what": what,
                    **{key: f"{result[name][key]:.2f}" for key in STATISTICS},
                    "standard_error": f"{standard_error(result, name):.2f}",
                })  # fmt: skip
    return rows


def _critic(run: Run) -> str:
    """Return a remark if the value function saw more than the policy in training."""
    if run.config.network.critic_sees == "none":
        return ""
    return "; in training the value function also saw game variables"


def phase_rows(groups: Sequence[Group]) -> list[dict[str, Any]]:
    """Return the rows of the time breakdown: mean shares over each group's runs."""
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


def settings(groups: Sequence[Group]) -> dict[str, Any]:
    """Return the tables of settings: what varies, what was changed, and all of them."""
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
