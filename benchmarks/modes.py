"""Compares the sample efficiency of asynchronous and synchronous training.

The same seeds are trained in both modes, in turns, for the same number of frames. Each
latest checkpoint is then evaluated on new seeds. Compare the difference between the
modes with the spread over the seeds of one mode.
"""

import argparse
import statistics
import sys
from typing import Any

from common import machine, output, training
from rich.console import Console
from rich.table import Table


# Number of points kept of each training curve.
_POINTS = 100


def attempt(seed: int, mode: str, options: argparse.Namespace) -> dict[str, Any]:
    """Train and evaluate one seed in one mode."""
    flags = [
        "--scenario", options.scenario, "--mode", mode, "--seed", seed,
        "--total-frames", options.frames, *options.arguments,
    ]  # fmt: skip
    run = training.train_and_evaluate(flags, options.episodes, "latest")
    return {
        "seed": seed,
        "seconds": run.seconds,
        "frames": run.evaluation["frames_trained"],
        "raw_return": run.evaluation["raw_return"],
        "shaped_return": run.evaluation["shaped_return"],
        "curve": _curve(run.metrics),
    }


def _curve(rows: list[dict[str, float]]) -> list[tuple[int, float]]:
    """Return (frames, raw return of the last training episodes), thinned out."""
    points = [
        (int(row["frames"]), round(row["episode/raw_return"], 3))
        for row in rows
        if "episode/raw_return" in row
    ]
    return training.thinned(points, _POINTS)


def print_table(console: Console, report: dict[str, Any]) -> None:
    """Print one row per seed and mode, and each mode's mean over the seeds."""
    table = Table(
        title=f"{report['scenario']} after {report['frames']:,} frames, "
        f"{report['episodes']} evaluation episodes each"
    )
    for name in ("mode", "seed", "raw return", "shaped return", "seconds"):
        table.add_column(name, justify="right")
    for mode, rows in report["modes"].items():
        for row in rows:
            raw, shaped = row["raw_return"], row["shaped_return"]
            table.add_row(
                mode,
                str(row["seed"]),
                f"{raw['mean']:.2f} +- {raw['std']:.2f}",
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
    """Read the command line; unknown flags go to `jaxfactory train`."""
    parser = argparse.ArgumentParser(prog="modes.py", description=__doc__)
    parser.add_argument("--scenario", default="health_gathering_supreme")
    parser.add_argument("--modes", nargs="+", default=["sync", "async"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--frames", type=int, default=1_000_000)
    parser.add_argument("--episodes", type=int, default=100)
    parser.add_argument("--name", default="modes", help="name of the results file")
    return training.parse(parser)


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
