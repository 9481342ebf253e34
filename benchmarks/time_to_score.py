"""Measures the time and frames until an agent reaches a score, for several seeds.

The clock includes start-up and compilation. Training stops when the raw return of the
last 100 training episodes has a mean - std of at least the threshold (--bar). The agent
is then evaluated on new seeds, off the clock, and this evaluation decides: if it misses
the threshold, training resumes until the training score is higher by 0.25, and the time
of the next evaluation counts.
"""

import argparse
import json
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from common import machine, output, training
from rich.console import Console
from rich.table import Table


_MARGIN = 0.25
_LOOK_S = 0.5
_RESAMPLES = 2000


def attempt(
    seed: int, options: argparse.Namespace, run: Path, console: Console
) -> dict[str, Any]:
    """Train one seed until it reaches the score or the time is up."""
    used, wanted, found = 0.0, options.bar, None
    evaluations = []
    while used < 60 * options.minutes:
        seconds, reached = _train_until(seed, wanted, options, run, used)
        used += seconds
        if not reached:
            break
        result = training.evaluate(run, options.episodes, "latest")
        score = {
            "frames": result["frames_trained"],
            **result["raw_return"],
            "standard_error": _error([one["raw_return"] for one in result["each"]]),
        }
        evaluations.append({"seconds": used, "wanted": wanted, **score})
        console.print(
            f"  seed {seed}: after {used:.0f} s and {score['frames']:,} frames, "
            f"evaluated mean - std {score['mean_minus_std']:.2f}",
            highlight=False,
        )
        if score["mean_minus_std"] >= options.bar:
            found = {"seconds": used, "frames": score["frames"]}
            break
        wanted += _MARGIN
    return {"seed": seed, "reached": found, "evaluations": evaluations, "used": used}


def _error(returns: list[float]) -> float:
    """Return the standard error of mean - std over episodes, by the bootstrap."""
    rng = np.random.default_rng(0)
    drawn = rng.choice(np.asarray(returns), (_RESAMPLES, len(returns)))
    return float(np.std(drawn.mean(1) - drawn.std(1)))


def _train_until(
    seed: int, wanted: float, options: argparse.Namespace, run: Path, used: float
) -> tuple[float, bool]:
    """Train until the training score is reached; return (seconds, reached)."""
    start = time.perf_counter()
    flags = ("--scenario", options.scenario, "--seed", seed, *options.arguments)
    with training.started(run, flags, run.parent / "train.log") as process:
        metrics, reached = run / "metrics.jsonl", False
        # Skip the metrics of earlier sessions.
        _, position = _new_rows(metrics, 0)
        while process.poll() is None:
            time.sleep(_LOOK_S)
            elapsed = time.perf_counter() - start
            rows, position = _new_rows(metrics, position)
            if rows and _score(rows[-1]) >= wanted:
                reached = True
                break
            if used + elapsed > 60 * options.minutes:
                break
        return time.perf_counter() - start, reached


def _new_rows(path: Path, position: int) -> tuple[list[dict], int]:
    if not path.exists():
        return [], position
    with path.open() as file:
        file.seek(position)
        text = file.read()
    whole = text[: text.rfind("\n") + 1]
    return [json.loads(line) for line in whole.splitlines()], position + len(whole)


def _score(row: dict[str, float]) -> float:
    if row.get("episode/count", 0) < 100:
        return -1.0
    return row["episode/raw_return"] - row["episode/raw_return_std"]


def print_table(console: Console, report: dict[str, Any]) -> None:
    """Print one row per seed."""
    table = Table(
        title=f"time to mean - std >= {report['bar']:g} on {report['scenario']}, "
        f"{report['machine']['cores']} cores"
    )
    score = f"raw return, {report['episodes']} evaluation episodes"
    for name in ("seed", "seconds", "frames", score, "mean - std"):
        table.add_column(name, justify="right")
    for row in report["seeds"]:
        reached = row["reached"]
        last = row["evaluations"][-1] if row["evaluations"] else None
        table.add_row(
            str(row["seed"]),
            f"{reached['seconds']:.0f}" if reached else f"not in {row['used']:.0f}",
            f"{reached['frames']:,}" if reached else "",
            f"{last['mean']:.2f} +- {last['std']:.2f}" if last else "",
            f"{last['mean_minus_std']:.2f} +- {last['standard_error']:.2f}"
            if last
            else "",
        )
    console.print(table)
    times = [row["reached"]["seconds"] for row in report["seeds"] if row["reached"]]
    if times:
        console.print(
            f"{len(times)} of {len(report['seeds'])} seeds; "
            f"median {statistics.median(times):.0f} s",
            highlight=False,
        )


def draw(report: dict[str, Any], path: Path) -> None:
    """Draw each seed's training score over time."""
    plt = output.load_pyplot()
    figure, axes = plt.subplots(figsize=(8, 4.5), dpi=130)
    for row in report["seeds"]:
        minutes = [at / 60 for at, _ in row["curve"]]
        (line,) = axes.plot(
            minutes, [s for _, s in row["curve"]], lw=1.2, label=f"seed {row['seed']}"
        )
        for one in row["evaluations"]:
            axes.plot(
                one["seconds"] / 60, one["mean_minus_std"], "o", color=line.get_color()
            )
    axes.axhline(report["bar"], color="#555555", ls=":")
    axes.set_xlabel("wall-clock minutes; dots: evaluations")
    axes.set_ylabel("raw return, mean - std")
    axes.set_title(
        f"{report['scenario']}, {report['machine']['cores']} cores of "
        f"{report['machine']['cpu']}",
        fontsize=10,
    )
    axes.legend(frameon=False)
    axes.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(path)


def _curve(run: Path) -> list[tuple[float, float]]:
    """Return (seconds, score) of the training episodes, thinned out."""
    rows, _ = _new_rows(run / "metrics.jsonl", 0)
    points = [(row["time/wall_clock"], _score(row)) for row in rows]
    points = [(round(at, 1), round(s, 3)) for at, s in points if s > -1]
    return training.thinned(points, 200)


def parse() -> argparse.Namespace:
    """Read the command line; unknown flags go to `jaxfactory train`."""
    parser = argparse.ArgumentParser(prog="time_to_score.py", description=__doc__)
    parser.add_argument("--scenario", default="health_gathering_supreme")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(10)))
    parser.add_argument("--bar", type=float, default=5.0, help="mean - std to reach")
    parser.add_argument("--minutes", type=float, default=15.0, help="for each seed")
    parser.add_argument("--episodes", type=int, default=400)
    parser.add_argument("--keep", type=Path, help="folder that keeps the runs")
    parser.add_argument("--name", default="time_to_score", help="name of the results")
    return training.parse(parser)


def main() -> int:
    """Run the benchmark; return the exit code."""
    options = parse()
    console = Console()
    where = machine.describe()
    seeds = []
    folder = Path(tempfile.mkdtemp(prefix="jaxfactory-bench-"))
    try:
        for seed in options.seeds:
            run = (options.keep or folder) / f"seed-{seed}"
            run.parent.mkdir(parents=True, exist_ok=True)
            result = attempt(seed, options, run, console)
            seeds.append({**result, "curve": _curve(run)})
    except training.FailedError as error:
        raise SystemExit(f"time_to_score.py: {error}") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    report = {
        "scenario": options.scenario,
        "bar": options.bar,
        "episodes": options.episodes,
        "arguments": options.arguments,
        "machine": where,
        "seeds": seeds,
    }
    print_table(console, report)
    output.write(console, report, options.out / f"{options.name}.json", draw)
    return 0 if all(row["reached"] for row in seeds) else 1


if __name__ == "__main__":
    sys.exit(main())
