"""Measures whether population-based training finds settings that a bad start lacks.

Four policies begin with a learning rate and an exploration coefficient ten times too
high and ten times too low, in all four combinations. For each seed, the same population
is trained with and without `--pbt`; then each policy's last checkpoint is evaluated.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from common import machine, output, training
from rich.console import Console
from rich.table import Table


# The defaults are 3e-4 and 0.003.
_START = ("learning_rate=3e-3,3e-3,3e-5,3e-5", "ent_coef=0.03,0.0003,0.03,0.0003")
_POLICIES = 4


def flags(options: argparse.Namespace, seed: int, pbt: bool) -> list[str]:
    """Return the flags of a training run."""
    found = [
        "--scenario", options.scenario, "--seed", str(seed), "--num-policies",
        str(_POLICIES), "--total-frames", str(options.frames), "--lr-schedule",
        "constant", "--policy-values", *_START, *options.arguments,
    ]  # fmt: skip
    if pbt:
        found += [
            "--pbt", "--pbt-period", str(options.frames // 10), "--pbt-warmup",
            str(options.frames // 5), "--pbt-mutation-probability", "0.6",
            "--pbt-mutation-range", "1.5", "3",
        ]  # fmt: skip
    return found


def measure(run: Path, options: argparse.Namespace, seed: int, pbt: bool) -> dict:
    """Train a population unless it is there, and evaluate each of its policies."""
    if not (run / "policies").is_dir():
        training.call("train", "--run", run, *flags(options, seed, pbt))
    events = [
        json.loads(line) for line in (run / "population.jsonl").read_text().splitlines()
    ]
    before = [event for event in events if event["frames"] < options.frames]
    values = {event["policy"]: event["values"] for event in before}
    policies = []
    for number in range(_POLICIES):
        folder = run / "policies" / str(number)
        found = training.evaluate(folder, options.episodes, "latest")["raw_return"]
        error = found["std"] / options.episodes**0.5
        policies.append(
            {
                "raw_return": round(found["mean"], 2),
                "standard_error": round(error, 2),
                "settings": values[number],
            }
        )
    kinds = [event["kind"] for event in events]
    counts = {kind: kinds.count(kind) for kind in sorted(set(kinds))}
    return {"seed": seed, "pbt": pbt, "events": counts, "policies": policies}


def print_table(console: Console, report: dict[str, Any]) -> None:
    """Print one row per population."""
    table = Table(
        title=f"{report['scenario']}: raw returns of the policies after "
        f"{report['frames']:,} frames each"
    )
    for name in ("seed", "", *(f"policy {i}" for i in range(_POLICIES)), "best"):
        table.add_column(name, justify="right")
    for row in report["populations"]:
        scores = [
            f"{one['raw_return']:.1f} +- {one['standard_error']:.1f}"
            for one in row["policies"]
        ]
        best = max(one["raw_return"] for one in row["policies"])
        name = "with PBT" if row["pbt"] else "without"
        table.add_row(str(row["seed"]), name, *scores, f"{best:.1f}")
    console.print(table)


def parse() -> argparse.Namespace:
    """Read the command line; unknown flags go to `jaxfactory train`."""
    parser = argparse.ArgumentParser(prog="population.py", description=__doc__)
    parser.add_argument("--scenario", default="basic")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--frames", type=int, default=200_000, help="of each policy")
    parser.add_argument("--episodes", type=int, default=200)
    parser.add_argument(
        "--runs", type=Path, help="keep the runs there; those that exist are evaluated"
    )
    parser.add_argument("--name", default="population", help="name of the results file")
    return training.parse(parser)


def main() -> int:
    """Run the benchmark; return the exit code."""
    options = parse()
    console = Console()
    rows: list[dict] = []
    report = {
        "scenario": options.scenario,
        "frames": options.frames,
        "episodes": options.episodes,
        "flags": flags(options, options.seeds[0], True),
        "machine": machine.describe(),
        "populations": rows,
    }
    with tempfile.TemporaryDirectory(prefix="jaxfactory-bench-") as scratch:
        for seed in options.seeds:
            for pbt in (True, False):
                folder = options.runs or Path(scratch)
                run = folder / f"{'pbt' if pbt else 'none'}{seed}"
                try:
                    rows.append(measure(run, options, seed, pbt))
                except training.FailedError as error:
                    raise SystemExit(f"population.py: {error}") from error
    print_table(console, report)
    output.write(console, report, options.out / f"{options.name}.json")
    return 0


if __name__ == "__main__":
    sys.exit(main())
