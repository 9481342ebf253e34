"""Frames/s of jaxfactory's pool beside other ways to step many games of Doom.

Each measurement runs in a fresh process. First every contender's settings are tried
shortly, in turns; then all contenders take turns, each at its best setting, so that
what else the machine does meanwhile hits all of them.
"""

import argparse
import contextlib
import json
import math
import os
import signal
import statistics
import sys
import traceback
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import machine
import match_rates
import measuring
import output
import processes
import report
import run_pool
import run_sample_factory
from contenders import CONTENDERS, OURS
from rich.console import Console

from jaxfactory._util.errors import UserError, did_you_mean
from jaxfactory.scenarios import scenario_table


_START_ALLOWANCE_S = 90.0
_TUNING_TURNS = 3
_ATTEMPTS = 3


class Candidate(NamedTuple):
    """A contender at one setting, and what the tuning pass saw."""

    setting: measuring.Setting
    tuning: list[dict[str, Any]]


class Parser(argparse.ArgumentParser):
    """Says in one sentence what is wrong."""

    def error(self, message: str) -> NoReturn:
        """Print the sentence and leave with exit code 2."""
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


class Benchmark:
    """Runs measurements and remembers who could not take part."""

    def __init__(self, options: argparse.Namespace, console: Console):
        self.options = options
        self.console = console
        self.skipped: dict[str, str] = {}
        self.failures: list[str] = []

    def run(self) -> dict[str, Any]:
        """Tune, measure in turns, and return the whole report."""
        where = machine.describe()
        chosen: dict[str, Candidate] = {}
        for name in self.options.only:
            candidate = self._tune(name)
            if candidate is not None:
                chosen[name] = candidate
        results: dict[str, list[dict[str, Any]]] = {name: [] for name in chosen}
        for index in range(self.options.rounds):
            for name in list(results):
                label = f"round {index + 1} of {self.options.rounds}"
                result = self.measure(
                    name, chosen[name].setting, self.options.seconds, label
                )
                reason = result.get("unavailable") or result.get("error")
                if reason:
                    self._skip(name, reason)
                    del results[name]
                else:
                    results[name].append(result)
        ours = [_rate(result) for result in results.get(OURS, [])]
        return {
            "scenario": self.options.scenario,
            "frame_skip": measuring.FRAME_SKIP,
            "observation": [measuring.HEIGHT, measuring.WIDTH, 3],
            "seconds": self.options.seconds,
            "rounds": self.options.rounds,
            "machine": where,
            "contenders": {
                name: {
                    "label": CONTENDERS[name].label,
                    "rendered": CONTENDERS[name].rendered,
                    "note": CONTENDERS[name].note,
                    "setting": chosen[name].setting,
                    "tuning": chosen[name].tuning,
                    **report.summarise([_rate(result) for result in measured], ours),
                    "measured": measured,
                }
                for name, measured in results.items()
            },
            "skipped": self.skipped,
            "failed_attempts": self.failures,
        }

    def _tune(self, name: str) -> Candidate | None:
        """Try the settings shortly, in turns; return the best, None if none works.

        Each has one turn, then the better half has two more; the median decides, so
        that one quiet or busy moment of the machine does not.
        """
        settings = CONTENDERS[name].settings(len(machine.cores()))
        if self.options.num_envs and name in run_pool.CONTENDERS:
            setting = {"num_envs": self.options.num_envs, "num_groups": 2}
            return Candidate(setting, [])
        if self.options.quick:
            return Candidate(settings[0], [])
        tried: list[dict[str, Any]] = [
            {"setting": setting, "frames_per_second": []} for setting in settings
        ]
        left = tried
        for turn in range(_TUNING_TURNS):
            for index, entry in enumerate(left):
                label = f"turn {turn + 1}, setting {index + 1} of {len(left)}"
                seconds = max(1.0, self.options.seconds / 3)
                result = self.measure(name, entry["setting"], seconds, label)
                if "unavailable" in result:
                    self._skip(name, result["unavailable"])
                    return None
                if "error" in result:
                    entry["error"] = result["error"]
                else:
                    entry["frames_per_second"].append(_rate(result))
            left = [entry for entry in left if "error" not in entry]
            left.sort(key=_tuned, reverse=True)
            if turn == 0:
                left = left[: (len(left) + 1) // 2]
        if not left:
            self._skip(name, tried[-1]["error"])
            return None
        self.console.print(
            f"{CONTENDERS[name].label}: best of {len(tried)} settings is "
            f"{report.describe_setting(left[0]['setting'])}",
            highlight=False,
        )
        return Candidate(left[0]["setting"], tried)

    def measure(
        self, name: str, setting: measuring.Setting, seconds: float, label: str
    ) -> dict[str, Any]:
        """Measure a contender once, in a process of its own."""
        command = [
            sys.executable, str(Path(__file__).resolve()),
            "--worker", name,
            "--setting", json.dumps(setting),
            "--scenario", self.options.scenario,
            "--seconds", str(seconds),
        ]  # fmt: skip
        with self.console.status(f"{CONTENDERS[name].label}: {label}"):
            for _ in range(_ATTEMPTS):
                result = processes.measure(command, _START_ALLOWANCE_S + 2 * seconds)
                # EnvPool's engines now and then collide while they start.
                if "error" not in result:
                    break
                self.failures.append(f"{name}: {result['error']}")
            return result

    def _skip(self, name: str, reason: str) -> None:
        self.skipped[name] = reason
        self.console.print(
            f"{CONTENDERS[name].label} is skipped: {reason}",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )


def _rate(result: dict[str, Any]) -> float:
    return result["frames"] / result["seconds"]


def _tuned(entry: dict[str, Any]) -> float:
    return statistics.median(entry["frames_per_second"])


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
    """Read the command line; a mistake is one sentence and exit code 2."""
    parser = Parser(prog="fps.py", description=__doc__, allow_abbrev=False)
    parser.add_argument(
        "--scenario",
        help="what is played (default health_gathering_supreme; with --match, "
        "deathmatch_full)",
    )
    parser.add_argument(
        "--match",
        metavar="AGENTS,...",
        help="measure matches of so many agents instead, for instance 2,4,8",
    )
    parser.add_argument(
        "--seconds", type=float, help="on the clock, a measurement (default 6)"
    )
    parser.add_argument(
        "--rounds", type=int, help="measurements of each contender (default 5)"
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="one round of 1 s, without trying settings: shows that it works",
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
        help=f"of {', '.join(CONTENDERS)}",
    )
    parser.add_argument(
        "--sample-factory",
        type=Path,
        metavar="VENV",
        help="virtual environment that has sample-factory, torch and vizdoom",
    )
    parser.add_argument(
        "--ceiling",
        action="store_true",
        help="also print which share of the cores' time was the engines' own code",
    )
    parser.add_argument(
        "--num-envs",
        type=int,
        help="environments of jaxfactory's pools, in two groups (default: the best of "
        "several numbers)",
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
        parser.error(f"--num-envs {options.num_envs} must be an even number from 2 on")
    if options.rounds < 1:
        parser.error(f"--rounds {options.rounds} must be 1 or more")
    for name in [*options.only, *filter(None, [options.worker])]:
        if name not in CONTENDERS:
            hint = did_you_mean(name, CONTENDERS)
            parser.error(
                f"nobody is called {name!r}{hint}; there are {', '.join(CONTENDERS)}"
            )
    options.only = [name for name in CONTENDERS if name in options.only]
    if options.sample_factory:
        folder = options.sample_factory.absolute()
        if not (folder / "bin" / "python").exists():
            parser.error(f"--sample-factory {folder} is no virtual environment")
        # Workers find it there.
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


def _interrupt(signum: int, frame: object) -> NoReturn:
    raise KeyboardInterrupt


def main() -> int:
    """Run the benchmark; return the exit code."""
    options = parse()
    if options.worker:
        with contextlib.suppress(KeyboardInterrupt):
            work(options)
        return 0
    signal.signal(signal.SIGTERM, _interrupt)
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
        print("nobody could be measured", file=sys.stderr)
        return 1
    report.print_table(console, found)
    for row in found["contenders"].values():
        console.print(f"  {row['label']}: {row['note']}", highlight=False)
    if options.ceiling:
        _print_ceiling(console, found)
    output.write(console, found, options.out / "fps.json", report.draw)
    return 0


def _print_ceiling(console: Console, found: dict[str, Any]) -> None:
    for name in (OURS, "jaxfactory-stock"):
        for result in found["contenders"].get(name, {}).get("measured", []):
            console.print(
                f"{name}: the engines had {result['engine_user_share']:.0%} of all "
                f"core time in their own code, {result['engine_kernel_share']:.0%} in "
                "the kernel",
                highlight=False,
            )


if __name__ == "__main__":
    sys.exit(main())
