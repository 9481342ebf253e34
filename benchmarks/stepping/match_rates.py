"""Measures agent frames/s by the number of agents per match and parallel matches."""

import argparse
import statistics
import sys
from collections.abc import Callable
from typing import Any

from common import machine, output
from rich.console import Console
from rich.table import Table

from stepping import measuring
from stepping.contenders import OURS


# (contender, setting, seconds, label) -> result.
Measure = Callable[[str, measuring.Setting, float, str], dict[str, Any]]

_TICS_PER_SECOND = 35


def run(options: argparse.Namespace, console: Console, measure: Measure) -> int:
    """Measure, print the table, write matches.json; return the exit code."""
    rows: list[dict[str, Any]] = [
        {"agents": agents, "matches": number, "frames_per_second": []}
        for agents in options.match
        for number in _numbers(len(machine.cores()))
    ]
    # In turns, so that other load on the machine affects all rows.
    for index in range(options.rounds):
        for row in rows:
            label = (
                f"round {index + 1} of {options.rounds}, {row['agents']} agents, "
                f"{row['matches']} at once"
            )
            result = measure(OURS, _setting(**row), options.seconds, label)
            reason = result.get("unavailable") or result.get("error")
            if reason:
                console.print(f"{label}: {reason}", highlight=False, markup=False)
            else:
                rate = result["frames"] / result["seconds"]
                row["frames_per_second"].append(rate)
    rows = [row for row in rows if row["frames_per_second"]]
    if not rows:
        print("no match could be measured", file=sys.stderr)
        return 1
    _print_table(console, options.scenario, rows)
    found = {
        "scenario": options.scenario,
        "frame_skip": measuring.FRAME_SKIP,
        "seconds": options.seconds,
        "machine": machine.describe(),
        "rows": rows,
    }
    output.write(console, found, options.out / "matches.json")
    return 0


def _numbers(cores: int) -> list[int]:
    """Return the numbers of parallel matches: one, and one or two per core."""
    return sorted({1, cores, 2 * cores})


def _setting(agents: int, matches: int, **_: Any) -> measuring.Setting:
    return {
        "num_envs": agents * matches,
        "num_groups": 1,
        "num_agents": agents,
        "num_bots": 0,
    }


def _print_table(console: Console, scenario: str, rows: list[dict[str, Any]]) -> None:
    table = Table(
        title=f"agent frames/s with random actions, {scenario}",
        caption="x real time: speed of each match by the median",
    )
    for name in ("agents", "matches", "median", "min", "max", "x real time"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        rates = row["frames_per_second"]
        median = statistics.median(rates)
        agents = row["agents"] * row["matches"]
        table.add_row(
            f"{row['agents']}",
            f"{row['matches']}",
            *(f"{value:,.0f}" for value in (median, min(rates), max(rates))),
            f"{median / agents / _TICS_PER_SECOND:,.0f}",
        )
    console.print(table)
