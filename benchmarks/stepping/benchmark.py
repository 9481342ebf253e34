"""Tunes the contenders of fps.py and measures them in turns."""

import argparse
import json
import statistics
import sys
from pathlib import Path
from typing import Any, NamedTuple

from common import machine, processes
from rich.console import Console

from stepping import fps_report, measuring, run_pool
from stepping.contenders import CONTENDERS, OURS


# Runs one measurement when called with --worker.
_SCRIPT = Path(__file__).resolve().parents[1] / "fps.py"
_START_ALLOWANCE_S = 90.0
_TUNING_TURNS = 3
_ATTEMPTS = 3


class Candidate(NamedTuple):
    """A contender's chosen setting, with the results of tuning."""

    setting: measuring.Setting
    tuning: list[dict[str, Any]]


class Benchmark:
    """Runs measurements and records the contenders that could not be measured."""

    def __init__(self, options: argparse.Namespace, console: Console):
        self.options = options
        self.console = console
        self.skipped: dict[str, str] = {}
        self.failures: list[str] = []

    def run(self) -> dict[str, Any]:
        """Tune, measure in turns, and return the report."""
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
                    **fps_report.summarize([_rate(one) for one in measured], ours),
                    "measured": measured,
                }
                for name, measured in results.items()
            },
            "skipped": self.skipped,
            "failed_attempts": self.failures,
        }

    def _tune(self, name: str) -> Candidate | None:
        """Measure the settings briefly, in turns; return the best, None if all fail.

        Every setting is measured once, and the better half twice more. The median
        decides, which is robust to other load on the machine.
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
            f"{fps_report.describe_setting(left[0]['setting'])}",
            highlight=False,
        )
        return Candidate(left[0]["setting"], tried)

    def measure(
        self, name: str, setting: measuring.Setting, seconds: float, label: str
    ) -> dict[str, Any]:
        """Measure a contender once, in its own process."""
        command = [
            sys.executable, str(_SCRIPT),
            "--worker", name,
            "--setting", json.dumps(setting),
            "--scenario", self.options.scenario,
            "--seconds", str(seconds),
        ]  # fmt: skip
        with self.console.status(f"{CONTENDERS[name].label}: {label}"):
            for _ in range(_ATTEMPTS):
                result = processes.measure(command, _START_ALLOWANCE_S + 2 * seconds)
                # EnvPool's engines sometimes collide at start-up.
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
