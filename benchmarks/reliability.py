"""Soak, episodes, aging, kills and chaos: what runs take, and what they survive.

Writes reliability.json and reliability.md. A part with 0 is left out; results of parts
that are left out stay as they are in an existing file.
"""

import argparse
import json
import shlex
import sys
import tempfile
from pathlib import Path
from typing import Any

from common import machine, output, processes
from enduring import aging, chaos, episodes, kills, soak
from enduring.trainer import BrokenError
from rich.console import Console


def main() -> int:
    """Run the parts that are asked for; return 1 if something did not hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--soak-minutes", type=float, default=120.0)
    parser.add_argument("--soak-scenario", default="health_gathering_supreme")
    parser.add_argument("--soak-every", type=float, default=10.0, help="seconds")
    parser.add_argument(
        "--soak-flags", default="", help="more flags for the training, as one string"
    )
    parser.add_argument(
        "--soak-turns",
        type=int,
        default=10,
        help="turns of the run and of one just resumed from it, 25 s each; 0 for none",
    )
    parser.add_argument(
        "--soak-name", default="soak", help="of this part in the results"
    )
    parser.add_argument("--episodes", type=int, default=20_000)
    parser.add_argument(
        "--aging-tics", type=float, default=3.0, help="millions, of each engine"
    )
    parser.add_argument(
        "--aging-replaced",
        type=int,
        default=1_000_000,
        help="--engine-tics of the engines that are replaced",
    )
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--chaos-frames", type=int, default=500_000)
    parser.add_argument(
        "--chaos-seeds", type=int, default=3, help="each runs undisturbed as well"
    )
    parser.add_argument("--chaos-every", type=float, default=3.0, help="seconds")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=output.FOLDER)
    options = parser.parse_args()
    processes.end_on_sigterm()
    console, path = Console(), options.out / "reliability.json"
    report: dict[str, Any] = {}
    if path.exists():
        report = json.loads(path.read_text())
    described = machine.describe() | {"command": shlex.join(sys.argv)}
    parts = {
        options.soak_name: (options.soak_minutes, lambda folder: soak.run(
            folder, options.soak_minutes, options.soak_scenario, options.soak_every,
            shlex.split(options.soak_flags), options.soak_turns)),
        "episodes": (options.episodes, lambda folder: episodes.run(
            options.episodes, options.seed)),
        "aging": (options.aging_tics, lambda folder: aging.run(
            options.aging_tics, options.aging_replaced, options.seed)),
        "kills": (options.kills, lambda folder: kills.run(
            folder, options.kills, options.seed)),
        "chaos": (options.chaos_frames, lambda folder: chaos.run(
            folder, options.chaos_frames, options.chaos_every,
            range(options.seed, options.seed + options.chaos_seeds))),
    }  # fmt: skip
    broken = False
    for name, (asked, run) in parts.items():
        if not asked:
            continue
        with tempfile.TemporaryDirectory(prefix="jaxfactory-bench-") as folder:
            try:
                report[name] = run(Path(folder))
            except BrokenError as error:
                report[name] = {"error": str(error)}
                broken = True
        report[name]["measured"] = {
            key: described[key] for key in ("commit", "date", "command")
        }
        console.print(f"{name}: {'failed' if 'error' in report[name] else 'done'}")
        # After each part: they take long.
        output.write(console, {**report, "machine": described}, path)
        path.with_suffix(".md").write_text(page(report))
    return int(broken)


def page(report: dict[str, Any]) -> str:
    """Return the results as Markdown."""
    lines = ["# Reliability", ""]
    for name in (name for name in report if name != "machine"):
        part = dict(report[name])
        part.pop("samples", None)
        fitted, measured = part.pop("slopes", {}), part.pop("measured")
        scenarios, pools = part.pop("scenarios", {}), part.pop("pools", {})
        lines += [f"## {name.replace('_', ' ').capitalize()}", ""]
        lines += [f"`{measured['command']}`, {measured['date']}, {measured['commit']}"]
        lines += ["", "| what | figure |", "|---|---|"]
        for key, value in part.items():
            if not isinstance(value, list):
                lines.append(f"| {key.replace('_', ' ')} | {value} |")
        lines += ["", *_slopes(fitted, "hour")]
        for scenario, played in scenarios.items():
            lines += [f"### {scenario}: {played['episodes']} episodes", ""]
            lines += _slopes(played["slopes"], "1,000 episodes")
        for kind, played in pools.items():
            lines += [f"### {kind}: {played['engines_replaced']} engines replaced", ""]
            lines += ["| percentile | milliseconds of a step |", "|---|---|"]
            spent = played["milliseconds_of_a_step"]
            lines += [f"| {percent} | {each} |" for percent, each in spent.items()]
            lines += ["", *_slopes(played["slopes"], "million tics of each engine")]
    return "\n".join(lines)


def _slopes(fitted: dict[str, dict[str, float]], unit: str) -> list[str]:
    if not fitted:
        return []
    return [
        f"| series | mean | slope per {unit} | standard error |",
        "|---|---|---|---|",
        *(
            f"| {series.replace('_', ' ')} | {fit['mean']:.4g} | {fit['slope']:+.3g} | "
            f"{fit['standard_error']:.2g} |"
            for series, fit in fitted.items()
        ),
        "",
    ]


if __name__ == "__main__":
    sys.exit(main())
