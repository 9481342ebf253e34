"""Compares frames/s of jaxfactory's pool with other ways to step many Doom games.

Each measurement runs in a new process. Each contender is tuned first, in short
measurements. Then all contenders take turns, each at its best setting, so that other
load on the machine affects all of them.
"""

import argparse
import contextlib
import json
import math
import os
import sys
import traceback
from pathlib import Path
from typing import NoReturn

from common import output, processes
from rich.console import Console
from stepping import fps_report, match_rates, measuring, run_sample_factory
from stepping.benchmark import Benchmark
from stepping.contenders import CONTENDERS

from jaxfactory._util.errors import UserError, did_you_mean
from jaxfactory.scenarios import scenario_table


class Parser(argparse.ArgumentParser):
    """Reports a mistake on the command line in one line."""

    def error(self, message: str) -> NoReturn:
        """Print the message and exit with code 2."""
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


def work(options: argparse.Namespace) -> None:
    """Measure one contender at one setting in this process; print one JSON line."""
    job = measuring.Job(
        scenario=options.scenario,
        setting=json.loads(options.setting),
        warmup=min(1.5, options.seconds / 3),
        seconds=options.seconds,
    )
    try:
        result = CONTENDERS[options.worker].run(job)
    except measuring.UnavailableError as reason:
        result = {"unavailable": str(reason)}
    except Exception as error:
        traceback.print_exc()
        result = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps(result), flush=True)


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line; a mistake is one line on stderr and exit code 2."""
    parser = Parser(prog="fps.py", description=__doc__, allow_abbrev=False)
    parser.add_argument(
        "--scenario",
        help="scenario (default health_gathering_supreme; with --match, "
        "deathmatch_full)",
    )
    parser.add_argument(
        "--match",
        metavar="AGENTS,...",
        help="measure matches with these numbers of agents instead, like 2,4,8",
    )
    parser.add_argument(
        "--seconds", type=float, help="seconds per measurement (default 6)"
    )
    parser.add_argument(
        "--rounds", type=int, help="measurements of each contender (default 5)"
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="a smoke test: one round of 1 s without tuning",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=output.FOLDER,
        help="folder for fps.json and fps.png",
    )
    parser.add_argument(
        "--only",
        nargs="+",
        metavar="NAME",
        default=list(CONTENDERS),
        help=f"contenders to measure, out of {', '.join(CONTENDERS)}",
    )
    parser.add_argument(
        "--sample-factory",
        type=Path,
        metavar="VENV",
        help="virtual environment with sample-factory, torch and vizdoom",
    )
    parser.add_argument(
        "--ceiling",
        action="store_true",
        help="also print the engines' share of the cores' time",
    )
    parser.add_argument(
        "--num-envs",
        type=int,
        help="environments of jaxfactory's pools, in two groups (default: tuned)",
    )
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--setting", default="{}", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.seconds is None:
        options.seconds = 1.0 if options.quick else 6.0
    if options.rounds is None:
        options.rounds = 1 if options.quick else 5
    if options.scenario is None:
        options.scenario = (
            "deathmatch_full" if options.match else "health_gathering_supreme"
        )
    if options.match:
        options.match = _agents(parser, options.match)
    _validate(parser, options)
    return options


def _agents(parser: Parser, text: str) -> list[int]:
    words = text.split(",")
    if not all(word.isdigit() and 1 <= int(word) <= 16 for word in words):
        parser.error(f"--match {text} must be numbers from 1 to 16 between commas")
    return [int(word) for word in words]


def _validate(parser: Parser, options: argparse.Namespace) -> None:
    if not 0 < options.seconds < math.inf:
        parser.error(f"--seconds {options.seconds:g} must be greater than 0")
    if options.num_envs is not None and (options.num_envs < 2 or options.num_envs % 2):
        parser.error(f"--num-envs {options.num_envs} must be even and at least 2")
    if options.rounds < 1:
        parser.error(f"--rounds {options.rounds} must be 1 or more")
    for name in [*options.only, *filter(None, [options.worker])]:
        if name not in CONTENDERS:
            hint = did_you_mean(name, CONTENDERS)
            parser.error(
                f"there is no contender named {name!r}{hint}; the contenders are "
                f"{', '.join(CONTENDERS)}"
            )
    options.only = [name for name in CONTENDERS if name in options.only]
    if options.sample_factory:
        folder = options.sample_factory.absolute()
        if not (folder / "bin" / "python").exists():
            parser.error(f"--sample-factory {folder} is not a virtual environment")
        # Worker processes read it.
        os.environ[run_sample_factory.VARIABLE] = str(folder)
    try:
        scenario = scenario_table.find(options.scenario)
        scenario_table.find_wad(scenario.load())
    except UserError as error:
        parser.error(str(error))
    if options.scenario.endswith(".cfg"):
        # Workers run in another folder.
        options.scenario = str(scenario.cfg)
    if options.out.exists() and not options.out.is_dir():
        parser.error(f"--out {options.out} is not a folder")


def main() -> int:
    """Run the benchmark; return the exit code."""
    options = parse()
    if options.worker:
        with contextlib.suppress(KeyboardInterrupt):
            work(options)
        return 0
    processes.end_on_sigterm()
    console = Console()
    try:
        if options.match:
            return match_rates.run(
                options, console, Benchmark(options, console).measure
            )
        found = Benchmark(options, console).run()
    except KeyboardInterrupt:
        print("stopped; nothing was written", file=sys.stderr)
        return 130
    if not found["contenders"]:
        print("no contender could be measured", file=sys.stderr)
        return 1
    fps_report.print_table(console, found)
    for row in found["contenders"].values():
        console.print(f"  {row['label']}: {row['note']}", highlight=False)
    if options.ceiling:
        fps_report.print_ceiling(console, found)
    output.write(console, found, options.out / "fps.json", fps_report.draw)
    return 0


if __name__ == "__main__":
    sys.exit(main())
