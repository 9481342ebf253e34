"""Compares training frames/s of sync mode, async mode and Sample Factory.

Training runs take turns, each in a new process. The first seconds of each, with
start-up and compilation, are not measured.

Sample Factory needs its own virtual environment:

    python -m venv sf && sf/bin/pip install sample-factory==2.1.1 torch vizdoom
    python benchmarks/train.py --sample-factory sf
"""

import argparse
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from common import machine, output, sample_factory, training
from rich.console import Console
from rich.table import Table


_LOOK_S = 0.1
_FOREVER = "1000000000"
_SF_FRAMES = re.compile(rb"Total num frames: (\d+)")


class Contender(NamedTuple):
    """A training command.

    Attributes:
        command: Returns the command that writes to a folder.
        frames: Returns the number of training frames so far, given the folder and the
            command's output; None before the first.
    """

    label: str
    command: Callable[[Path], list[str]]
    frames: Callable[[Path, bytes], int | None]


def ours(
    preset: str, mode: str, precision: str, options: argparse.Namespace
) -> Contender:
    """Return the contender for jaxfactory with a preset, a mode and a precision."""

    def command(folder: Path) -> list[str]:
        return [
            *training.JAXFACTORY, "train",
            "--scenario", options.scenario, "--run", str(folder / "run"),
            "--preset", preset, "--mode", mode, "--precision", precision,
            "--total-frames", _FOREVER,
            *options.arguments,
        ]  # fmt: skip

    def frames(folder: Path, printed: bytes) -> int | None:
        path = folder / "run" / "metrics.jsonl"
        if not path.exists():
            return None
        lines = path.read_bytes().splitlines()[-2:]
        for line in reversed(lines):
            try:
                return int(json.loads(line)["frames"])
            except ValueError:
                continue  # an incomplete line
        return None

    label = f"jaxfactory {preset}, {mode}"
    if precision != "auto":
        label += f", {precision}"
    return Contender(label, command, frames)


def theirs(options: argparse.Namespace) -> Contender:
    """Return the contender for Sample Factory, equivalent to the reference preset."""

    def command(folder: Path) -> list[str]:
        return sample_factory.command(options, options.scenario, folder, _FOREVER)

    def frames(folder: Path, printed: bytes) -> int | None:
        found = _SF_FRAMES.findall(printed)
        return int(found[-1]) if found else None

    return Contender("Sample Factory", command, frames)


def measure(contender: Contender, options: argparse.Namespace) -> dict[str, Any]:
    """Train for a while; return the frames and seconds after the warm-up.

    The clock is read only when the number of frames changes, so that a contender that
    reports it rarely is not charged for the time since its last report.
    """
    with tempfile.TemporaryDirectory(
        prefix="jaxfactory-bench-", ignore_cleanup_errors=True
    ) as name:
        folder = Path(name)
        log = folder / "log"
        with log.open("wb") as file:
            process = subprocess.Popen(
                contender.command(folder),
                stdout=file,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        began, first, last, seen = time.perf_counter(), None, None, 0
        try:
            while process.poll() is None:
                time.sleep(_LOOK_S)
                now = time.perf_counter()
                frames = contender.frames(folder, log.read_bytes())
                if frames and frames != seen:
                    seen = frames
                    if now - began >= options.warmup:
                        first = first or (now, frames)
                        last = (now, frames)
                if first and now - first[0] >= options.seconds:
                    break
                if now - began > 180 + options.warmup + options.seconds:
                    break
        finally:
            sample_factory.end(process)
        if not first or first == last:
            tail = log.read_text(errors="replace").strip().splitlines()[-1:]
            return {"error": " ".join(["no frames were trained:", *tail])}
        frames, seconds = last[1] - first[1], last[0] - first[0]
        return {"frames": frames, "seconds": seconds}


def print_table(console: Console, report: dict[str, Any]) -> None:
    """Print medians, and speedups over Sample Factory if it was measured."""
    table = Table(
        title=f"frames/s of training, {report['scenario']}, "
        f"{report['machine']['cores']} cores"
    )
    table.add_column("contender")
    for name in ("median", "min", "max", "speedup over Sample Factory"):
        table.add_column(name, justify="right")
    theirs = report["contenders"].get("Sample Factory")
    for label, rates in report["contenders"].items():
        row = [f"{f(rates):,.0f}" for f in (statistics.median, min, max)]
        ratio = ""
        if theirs and rates is not theirs:
            ratio = f"{statistics.median(a / b for a, b in zip(rates, theirs)):.2f}"
        table.add_row(label, *row, ratio)
    console.print(table)


def parse() -> argparse.Namespace:
    """Read the command line; unknown flags go to `jaxfactory train`."""
    parser = argparse.ArgumentParser(
        prog="train.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--scenario", default="health_gathering_supreme")
    parser.add_argument("--presets", nargs="+", default=["reference", "default"])
    parser.add_argument("--modes", nargs="+", default=["sync", "async"])
    parser.add_argument("--precisions", nargs="+", default=["auto"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--warmup", type=float, default=25.0, help="seconds")
    parser.add_argument("--seconds", type=float, default=30.0, help="measured seconds")
    sample_factory.add_flags(parser)
    parser.add_argument("--name", default="train", help="name of the results file")
    options = training.parse(parser)
    sample_factory.check(parser, options)
    return options


def main() -> int:
    """Run the benchmark; return the exit code."""
    options = parse()
    console = Console()
    where = machine.describe()
    contenders = [
        ours(preset, mode, precision, options)
        for preset in options.presets
        for mode in options.modes
        for precision in options.precisions
    ]
    if options.sample_factory:
        contenders.append(theirs(options))
    found: dict[str, list[float]] = {one.label: [] for one in contenders}
    for index in range(options.rounds):
        for contender in list(contenders):
            label = f"{contender.label}: round {index + 1} of {options.rounds}"
            with console.status(label):
                result = measure(contender, options)
            if "error" in result:
                console.print(
                    f"{contender.label} is skipped: {result['error']}", markup=False
                )
                contenders.remove(contender)
                del found[contender.label]
            else:
                found[contender.label].append(result["frames"] / result["seconds"])
    report = {
        "scenario": options.scenario,
        "seconds": options.seconds,
        "rounds": options.rounds,
        "arguments": options.arguments,
        "machine": where,
        "contenders": found,
    }
    if not found:
        return 1
    print_table(console, report)
    output.write(console, report, options.out / f"{options.name}.json")
    return 0


if __name__ == "__main__":
    sys.exit(main())
