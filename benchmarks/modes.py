"""Compares the scores of training with different values of one setting.

By default the setting is the mode, asynchronous or synchronous. `--flag processes`
compares numbers of processes that share `--num-envs` environments. The same seeds are
trained with each value, in turns, for the same number of frames. Each latest checkpoint
is then evaluated on new seeds. Compare the difference between the values with the
spread over the seeds of one value.
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


def attempt(seed: int, value: str, options: argparse.Namespace) -> dict[str, Any]:
    """Train and evaluate one seed with one value."""
    flags = [
        "--scenario", options.scenario, "--seed", seed, "--total-frames",
        options.frames, *options.arguments,
    ]  # fmt: skip
    processes, envs = 1, options.num_envs
    if options.flag == "processes":
        processes = int(value)
        envs = (envs or 64) // processes
    else:
        flags += [f"--{options.flag}", value]
    if envs:
        flags += ["--num-envs", envs]
    run = training.train_and_evaluate(
        flags, options.episodes, "latest", processes=processes
    )
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
    """Print one row per seed and value, and each value's mean over the seeds."""
    table = Table(
        title=f"{report['scenario']} after {report['frames']:,} frames, "
        f"{report['episodes']} evaluation episodes each"
    )
    for name in (report["flag"], "seed", "raw return", "shaped return", "seconds"):
        table.add_column(name, justify="right")
    for value, rows in report["values"].items():
        for row in rows:
            raw, shaped = row["raw_return"], row["shaped_return"]
            table.add_row(
                value,
                str(row["seed"]),
                f"{raw['mean']:.2f} +- {raw['std']:.2f}",
                f"{shaped['mean']:.2f} +- {shaped['std']:.2f}",
                f"{row['seconds']:.0f}",
            )
    console.print(table)
    for value, rows in report["values"].items():
        means = [row["raw_return"]["mean"] for row in rows]
        spread = statistics.stdev(means) if len(means) > 1 else 0.0
        console.print(
            f"{value}: raw return over the seeds {statistics.mean(means):.2f} "
            f"+- {spread:.2f} (standard error {spread / len(means) ** 0.5:.2f})",
            highlight=False,
        )


def parse() -> argparse.Namespace:
    """Read the command line; unknown flags go to `jaxfactory train`."""
    parser = argparse.ArgumentParser(prog="modes.py", description=__doc__)
    parser.add_argument("--scenario", default="health_gathering_supreme")
    parser.add_argument("--flag", default="mode", help="the setting to compare")
    parser.add_argument("--values", nargs="+", default=["sync", "async"])
    parser.add_argument(
        "--num-envs",
        type=int,
        help="environments, of all processes together (default: the preset's)",
    )
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
    found: dict[str, list[dict]] = {value: [] for value in options.values}
    try:
        for seed in options.seeds:
            for value in options.values:
                with console.status(f"{value}, seed {seed}"):
                    found[value].append(attempt(seed, value, options))
    except training.FailedError as error:
        raise SystemExit(f"modes.py: {error}") from error
    report = {
        "scenario": options.scenario,
        "frames": options.frames,
        "episodes": options.episodes,
        "arguments": options.arguments,
        "machine": where,
        "flag": options.flag,
        "values": found,
    }
    print_table(console, report)
    output.write(console, report, options.out / f"{options.name}.json")
    return 0


if __name__ == "__main__":
    sys.exit(main())
