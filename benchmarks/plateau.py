"""Measures how many frames an agent needs to get past random play, for any flags.

Early in training the return stays at that of random actions; when a seed leaves this
plateau decides how soon it reaches a score. For each variant, a name with flags of
`jaxfactory train`, each seed trains for `--frames` frames at most. The measure is the
number of frames after which the mean raw return of the last 100 episodes passes
`--bar`. Runs stop early, but their schedules are those of a full-length run.

Several runs go on side by side, each on a core of its own: frames are counted, not
time. Variants take turns.
"""

import argparse
import concurrent.futures
import contextlib
import queue
import shlex
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common import machine, output, training
from rich.console import Console
from rich.table import Table


_LOOK_S = 1.0
_EPISODES = 100
_POINTS = 60


def attempt(
    seed: int, flags: list[str], options: argparse.Namespace, cores: queue.SimpleQueue
) -> dict[str, Any]:
    """Train one seed with one variant; return when it passed the bar, and its curve."""
    with tempfile.TemporaryDirectory(prefix="jaxfactory-bench-") as folder:
        run = Path(folder) / "run"
        core = cores.get()
        try:
            _train(
                run, core, options.frames,
                ("--scenario", options.scenario, "--seed", seed,
                 *options.arguments, *flags),
            )  # fmt: skip
        finally:
            cores.put(core)
        rows = [
            row for row in training.read_metrics(run)
            if row.get("episode/count", 0) >= _EPISODES
        ]  # fmt: skip
    points = [(int(row["frames"]), row["episode/raw_return"]) for row in rows]
    passed = next((at for at, score in points if score >= options.bar), None)
    last = [score for at, score in points if at <= options.frames][-1:]
    return {
        "seed": seed,
        "frames": passed if passed is None or passed <= options.frames else None,
        "last": last[0] if last else None,
        "curve": training.thinned([(at, round(s, 3)) for at, s in points], _POINTS),
    }


def _train(run: Path, core: int, frames: int, flags: Sequence[object]) -> None:
    """Train on one core until the metrics reach a number of frames."""
    log = run.parent / "log"
    with training.started(run, flags, log, core) as process:
        while process.poll() is None and _frames(run) < frames:
            time.sleep(_LOOK_S)
    if _frames(run) < frames:
        last = log.read_text(errors="replace").strip().splitlines()[-1:]
        raise training.FailedError(f"train ended early: {' '.join(last)}")


def _frames(run: Path) -> int:
    with contextlib.suppress(OSError, ValueError, IndexError):
        return int(training.read_metrics(run)[-1]["frames"])
    return 0


def quartiles(rows: list[dict[str, Any]]) -> list[float | None]:
    """Return the quartiles of the frames; None where the runs had not got so far."""
    found = sorted(row["frames"] or float("inf") for row in rows)
    if len(found) < 2:
        return [rows[0]["frames"]] * 3
    return [
        None if cut == float("inf") or cut != cut else cut
        for cut in statistics.quantiles(found, method="inclusive")
    ]


def print_table(console: Console, report: dict[str, Any]) -> None:
    """Print one row per variant."""
    names = ("variant", "seeds", "first quarter", "half", "three quarters", "last")
    table = Table(
        title=f"{report['scenario']}: thousands of frames until a raw return of "
        f"{report['bar']:g}; the last return before {report['frames']:,} frames"
    )
    for name in names:
        table.add_column(name, justify="right")
    for name, rows in report["variants"].items():
        cuts = ["" if cut is None else f"{cut / 1000:.0f}" for cut in quartiles(rows)]
        last = [row["last"] for row in rows if row["last"] is not None]
        spread = statistics.stdev(last) / len(last) ** 0.5 if len(last) > 1 else 0.0
        mean = f"{statistics.mean(last):.2f} +- {spread:.2f}" if last else ""
        table.add_row(name, str(len(rows)), *cuts, mean)
    console.print(table)


def parse() -> argparse.Namespace:
    """Read the command line; unknown flags go to `jaxfactory train` in all variants."""
    parser = argparse.ArgumentParser(prog="plateau.py", description=__doc__)
    parser.add_argument("--scenario", default="health_gathering_supreme")
    parser.add_argument(
        "--variant", action="append", default=[], metavar="NAME: FLAGS",
        help="a variant, such as 'larger: --learning-rate 5e-4'; repeat for more",
    )  # fmt: skip
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(8)))
    parser.add_argument("--frames", type=int, default=400_000)
    parser.add_argument("--bar", type=float, default=6.0)
    parser.add_argument("--jobs", type=int, default=len(machine.cores()))
    parser.add_argument("--name", default="plateau", help="name of the results file")
    options = training.parse(parser)
    variants = {}
    for text in options.variant or ["default:"]:
        name, colon, flags = text.partition(":")
        if not colon or name.strip() in variants:
            parser.error(f"--variant {text!r} must be 'NAME: FLAGS', with its own name")
        variants[name.strip()] = shlex.split(flags)
    options.variants = variants
    return options


def main() -> int:
    """Run the benchmark; return the exit code."""
    options = parse()
    console = Console()
    where = machine.describe()
    cores: queue.SimpleQueue = queue.SimpleQueue()
    for index in range(options.jobs):
        cores.put(machine.cores()[index % len(machine.cores())])
    found: dict[str, list[dict]] = {name: [] for name in options.variants}
    report = {
        "scenario": options.scenario,
        "bar": options.bar,
        "frames": options.frames,
        "arguments": options.arguments,
        "flags": options.variants,
        "machine": where,
        "variants": found,
    }
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        jobs = {
            pool.submit(attempt, seed, flags, options, cores): name
            for seed in options.seeds
            for name, flags in options.variants.items()
        }
        try:
            for job in concurrent.futures.as_completed(jobs):
                found[jobs[job]].append(job.result())
                name, row = jobs[job], found[jobs[job]][-1]
                console.print(
                    f"{name}, seed {row['seed']}: {row['frames'] or 'not'}, "
                    f"last {row['last'] or 0:.2f}", highlight=False,
                )  # fmt: skip
        except training.FailedError as error:
            pool.shutdown(cancel_futures=True)
            raise SystemExit(f"plateau.py: {error}") from error
    for rows in found.values():
        rows.sort(key=lambda row: row["seed"])
    print_table(console, report)
    output.write(console, report, options.out / f"{options.name}.json")
    return 0


if __name__ == "__main__":
    sys.exit(main())
