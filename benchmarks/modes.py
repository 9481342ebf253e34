"""Whether asynchronous training learns as much from a frame as synchronous training.

The same seeds are trained in both modes, in turns, for the same number of frames; the
last checkpoint then plays fresh episodes. What the modes differ by is to be read beside
what the seeds of one mode differ by.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import machine
import output
import training
from rich.console import Console
from rich.table import Table


# Points of a training curve that are kept.
_POINTS = 100


def attempt(seed: int, mode: str, options: argparse.Namespace) -> dict[str, Any]:
    """Train and evaluate one seed in one mode."""
    with tempfile.TemporaryDirectory(prefix="jaxfactory-bench-") as folder:
        run = Path(folder) / "run"
        start = time.perf_counter()
        training.call(
            "train", "--scenario", options.scenario, "--run", run, "--mode", mode,
            "--seed", seed, "--total-frames", options.frames, *options.arguments,
        )  # fmt: skip
        seconds = time.perf_counter() - start
        result = training.evaluate(run, options.episodes, "latest")
        return {
            "seed": seed,
            "seconds": seconds,
            "frames": result["frames_trained"],
            "raw_return": result["raw_return"],
            "shaped_return": result["shaped_return"],
            "curve": _curve(run),
        }


def _curve(run: Path) -> list[tuple[int, float]]:
    """Return (frames, raw return of the last training episodes), thinned out."""
    lines = (run / "metrics.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    points = [
        (int(row["frames"]), round(row["episode/raw_return"], 3))
        for row in rows
        if "episode/raw_return" in row
    ]
    return points[:: max(1, len(points) // _POINTS)]


def print_table(console: Console, report: dict[str, Any]) -> None:
    """Print one row for each seed and mode, and each mode's mean over the seeds."""
    table = Table(
        title=f"{report['scenario']} after {report['frames']:,} frames, "
        f"{report['episodes']} fresh episodes each"
    )
    for name in ("mode", "seed", "raw return", "shaped return", "seconds"):
        table.add_column(name, justify="right")
    for mode, rows in report["modes"].items():
        for row in rows:
            own, shaped = row["raw_return"], row["shaped_return"]
            table.add_row(
                mode,
                str(row["seed"]),
                f"{own['mean']:.2f} +- {own['std']:.2f}",
                f"{shaped['mean']:.2f} +- {shaped['std']:.2f}",
                f"{row['seconds']:.0f}",
            )
    console.print(table)
    for mode, rows in report["modes"].items():
        means = [row["raw_return"]["mean"] for row in rows]
        spread = statistics.stdev(means) if len(means) > 1 else 0.0
        console.print(
            f"{mode}: raw return over the seeds {statistics.mean(means):.2f} "
            f"+- {spread:.2f}",
            highlight=False,
        )


def parse() -> argparse.Namespace:
    """Read the command line; what is not known here goes to `jaxfactory train`."""
    parser = argparse.ArgumentParser(prog="modes.py", description=__doc__)
    parser.add_argument("--scenario", default="health_gathering_supreme")
    parser.add_argument("--modes", nargs="+", default=["sync", "async"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--frames", type=int, default=1_000_000)
    parser.add_argument("--episodes", type=int, default=100)
    parser.add_argument("--name", default="modes", help="of the file written")
    parser.add_argument("--out", type=Path, default=output.FOLDER)
    options, options.arguments = parser.parse_known_args()
    return options


def main() -> int:
    """Run the benchmark; return the exit code."""
    options = parse()
    console = Console()
    where = machine.describe()
    found: dict[str, list[dict]] = {mode: [] for mode in options.modes}
    try:
        for seed in options.seeds:
            for mode in options.modes:
                with console.status(f"{mode}, seed {seed}"):
                    found[mode].append(attempt(seed, mode, options))
    except training.FailedError as error:
        raise SystemExit(f"modes.py: {error}") from error
    report = {
        "scenario": options.scenario,
        "frames": options.frames,
        "episodes": options.episodes,
        "arguments": options.arguments,
        "machine": where,
        "modes": found,
    }
    print_table(console, report)
    output.write(console, report, options.out / f"{options.name}.json")
    return 0


if __name__ == "__main__":
    sys.exit(main())
