"""Compares acting and updating with the same network in PyTorch, on the CPU.

Each contender runs in its own process. They are measured in turns, one at a time, so
that other load on the machine affects all of them.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from common import machine, output
from rich.console import Console
from rich.table import Table


_HERE = Path(__file__).resolve().parent
OURS = "jaxfactory"
CONTENDERS = {
    OURS: "JAX, as jaxfactory train runs it",
    f"{OURS}-bfloat16": "the same with --precision bfloat16",
    "torch": "PyTorch, contiguous",
    "torch-channels-last": "PyTorch, channels last",
    "torch-bf16": "PyTorch, channels last, bf16 autocast",
}
# Measured work -> description.
WORK = {
    "forward": "one step of 64 environments",
    "gradient": "loss and gradient of 32 steps x 32 environments",
    "update": "a full update: statistics, advantages, gradient, Adam",
}
_IMAGES = {"forward": 64, "gradient": 1024, "update": 1024}


class Contender:
    """A worker process that measures on request."""

    def __init__(self, name: str, preset: str, torch: Path | None):
        """Start the process; it sets itself up in the background."""
        is_ours = name.startswith(OURS)
        module = "updating.run_jax" if is_ours else "updating.run_torch"
        python, paths = sys.executable, [_HERE, os.environ.get("PYTHONPATH")]
        if torch and not is_ours:
            python = str(torch / "bin" / "python")
            # This environment has no jaxfactory; the worker reads its presets only.
            paths = [_HERE, _HERE.parent]
        path = os.pathsep.join(map(str, filter(None, paths)))
        self.name = name
        self.process = subprocess.Popen(
            [python, "-m", module, name, preset],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": path},
        )

    def ask(self, order: dict[str, Any]) -> dict[str, Any]:
        """Send a request and return the answer."""
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        return self.answer()

    def answer(self) -> dict[str, Any]:
        """Return the next answer."""
        for line in self.process.stdout:
            if line.startswith("{"):
                return json.loads(line)
        return {"error": f"ended with exit code {self.process.wait()}"}

    def close(self) -> None:
        """End the process."""
        self.process.stdin.close()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()


def measure(preset: str, options: argparse.Namespace, console: Console) -> dict:
    """Return microseconds per image of each contender, by kind of work and round."""
    contenders, skipped = [], {}
    for name in CONTENDERS:
        # One at a time, because compiling in parallel is slow.
        with console.status(f"{CONTENDERS[name]}: setting up"):
            contender = Contender(name, preset, options.torch)
            ready = contender.answer()
        reason = ready.get("unavailable") or ready.get("error")
        if reason:
            skipped[name] = reason
            console.print(f"{CONTENDERS[name]} is skipped: {reason}", highlight=False)
            contender.close()
        else:
            contenders.append(contender)
    found: dict[str, dict[str, list[float]]] = {
        work: {contender.name: [] for contender in contenders} for work in WORK
    }
    try:
        for index in range(options.rounds):
            for work in WORK:
                for contender in contenders:
                    label = f"{preset}, {work}, round {index + 1} of {options.rounds}"
                    with console.status(f"{CONTENDERS[contender.name]}: {label}"):
                        done = contender.ask({"work": work, "seconds": options.seconds})
                    images = _IMAGES[work] * done["calls"]
                    found[work][contender.name].append(1e6 * done["seconds"] / images)
    finally:
        for contender in contenders:
            contender.close()
    return {"microseconds": found, "skipped": skipped}


def print_table(console: Console, preset: str, found: dict) -> None:
    """Print medians over rounds, and the median speedups."""
    table = Table(
        title=f"microseconds per image, {preset} network, {len(machine.cores())} cores",
        caption="in parentheses: jaxfactory's speedup, median over rounds",
    )
    table.add_column("contender")
    for work in WORK:
        table.add_column(work, justify="right")
    for name, title in CONTENDERS.items():
        if name in found["skipped"]:
            continue
        cells = []
        for work in WORK:
            theirs, ours = (found["microseconds"][work][who] for who in (name, OURS))
            cell = f"{statistics.median(theirs):.0f}"
            if name != OURS:
                ratio = statistics.median(a / b for a, b in zip(theirs, ours))
                cell += f" ({ratio:.2f})"
            cells.append(cell)
        table.add_row(title, *cells)
    console.print(table)
    for work, text in WORK.items():
        console.print(f"  {work}: {text}", highlight=False)


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="update.py", description=__doc__)
    parser.add_argument("--presets", nargs="+", default=["reference", "default"])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=2.0, help="per measurement")
    parser.add_argument(
        "--torch",
        type=Path,
        help="virtual environment with PyTorch; by default this one",
    )
    parser.add_argument("--out", type=Path, default=output.FOLDER)
    parser.add_argument("--name", default="update", help="name of the results file")
    options = parser.parse_args()
    if options.rounds < 1 or not options.seconds > 0:
        parser.error("--rounds must be 1 or more and --seconds greater than 0")
    if options.torch and not (options.torch / "bin" / "python").exists():
        parser.error(f"--torch {options.torch} is not a virtual environment")
    from jaxfactory.config.presets import PRESETS

    for preset in options.presets:
        if preset not in PRESETS:
            parser.error(f"unknown preset {preset!r}; the presets are {[*PRESETS]}")
    return options


def main() -> int:
    """Run the benchmark; return the exit code."""
    options = parse()
    console = Console()
    where = machine.describe()
    found = {}
    for preset in options.presets:
        found[preset] = measure(preset, options, console)
        print_table(console, preset, found[preset])
    report = {"machine": where, "seconds": options.seconds, "presets": found}
    output.write(console, report, options.out / f"{options.name}.json")
    return 0


if __name__ == "__main__":
    sys.exit(main())
