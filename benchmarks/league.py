"""Measures whether self-play improves an agent at `duel`.

It is trained by self-play for `--minutes`, half of the matches against its past, and
copied after a quarter and after half of the time; for as long, an agent of the same
settings is trained against the engine's bot. Then all four meet in a tournament.
"""

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from common import machine, output, training
from rich.console import Console
from rich.table import Table


_SHARES = (0.25, 0.5, 1.0)
_BOTS = "against_bots"
# Number of points kept of each curve.
_POINTS = 60
_CURVES = ("episode/raw_return", "league/rating", "league/win_rate")


def agent(
    folder: Path,
    name: str,
    start: Path | None,
    minutes: float,
    options: argparse.Namespace,
    *flags: object,
) -> Path:
    """Train an agent for some minutes, unless it is there; return its run.

    Args:
        folder: Where the runs are.
        name: Of the run.
        start: The run that it continues.
        minutes: From there on.
        options: The command's.
        *flags: Of `jaxfactory train`.
    """
    run = folder / name
    if run.is_dir():
        return run
    # An interrupted run would have been trained for longer once it is resumed.
    unfinished = folder / "unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    if start:
        shutil.copytree(start, unfinished)
    if options.timeout:
        flags = (*flags, "--timeout", options.timeout)
    training.call(
        "train", "--run", unfinished, "--train-for-minutes", minutes,
        "--total-frames", 10**10, "--lr-schedule", "constant", "--seed", options.seed,
        *flags, *options.arguments,
    )  # fmt: skip
    unfinished.rename(run)
    return run


def train_all(folder: Path, options: argparse.Namespace) -> list[Path]:
    """Train by self-play and against the bot; return the runs, the best trained first.

    Those that are there already are not trained again.
    """
    copies, start, before = [], None, 0.0
    flags = ("--scenario", "duel", "--self-play-share", options.share)
    for share in _SHARES:
        until = share * options.minutes
        name = f"self_play_{until:g}_minutes"
        start = agent(folder, name, start, until - before, options, *flags)
        copies.insert(0, start)
        before = until
    flags = ("--scenario", "duel_bots")
    return [*copies, agent(folder, _BOTS, None, options.minutes, options, *flags)]


def measure(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Train all agents, and return the results of their tournament."""
    agents = train_all(folder, options)
    place = folder / "tournament"
    more = ("--timeout", options.timeout) if options.timeout else ()
    training.call(
        "tournament", *agents, "--scenario", "duel", "--checkpoint", "latest",
        "--matches", options.matches, "--output", place, *more,
    )  # fmt: skip
    result = json.loads((place / "tournament.json").read_text())
    names = {str(agent): agent.name for agent in agents}
    pairs = [
        {name: value for name, value in pair.items() if name != "matches"}
        for pair in result["pairs"]
    ]
    for pair in pairs:
        pair["first"], pair["second"] = names[pair["first"]], names[pair["second"]]
    return {
        "agents": [{**one, "name": names[one["name"]]} for one in result["agents"]],
        "pairs": pairs,
        "curves": {run.name: curves(run) for run in (agents[0], agents[-1])},
    }


def curves(run: Path) -> dict[str, list]:
    """Return some metrics of a run as lists of (frames, value), thinned out."""
    rows = training.read_metrics(run)
    return {
        name: training.thinned(
            [[int(row["frames"]), round(row[name], 3)] for row in rows if name in row],
            _POINTS,
        )
        for name in _CURVES
    }


def print_table(console: Console, report: dict[str, Any]) -> None:
    """Print one row per pair."""
    table = Table(title=f"duel, {report['minutes']:g} minutes of training each")
    for name in ("agent", "against", "won", "drawn", "lost", "score", "95 % interval"):
        table.add_column(name, justify="right")
    for pair in report["pairs"]:
        table.add_row(
            pair["first"],
            pair["second"],
            *(str(pair[name]) for name in ("wins", "draws", "losses")),
            f"{100 * pair['score']:.0f} %",
            f"{100 * pair['score_low']:.0f} to {100 * pair['score_high']:.0f} %",
        )
    console.print(table)


def parse() -> argparse.Namespace:
    """Read the command line; unknown flags go to `jaxfactory train`."""
    parser = argparse.ArgumentParser(prog="league.py", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0, help="of training each")
    parser.add_argument(
        "--share", type=float, default=0.5, help="of the matches against the past"
    )
    parser.add_argument("--matches", type=int, default=100, help="of each pair")
    parser.add_argument("--timeout", type=int, help="tics of a match")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--runs", type=Path, help="keep the runs there; those that exist are used"
    )
    parser.add_argument("--name", default="league", help="name of the results file")
    return training.parse(parser)


def main() -> int:
    """Run the benchmark; return the exit code."""
    options = parse()
    console = Console()
    where = machine.describe()
    with tempfile.TemporaryDirectory(prefix="jaxfactory-bench-") as scratch:
        folder = options.runs or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        try:
            found = measure(folder, options)
        except training.FailedError as error:
            raise SystemExit(f"league.py: {error}") from error
    report = {
        "minutes": options.minutes,
        "matches": options.matches,
        "self_play_share": options.share,
        "seed": options.seed,
        "arguments": options.arguments,
        "machine": where,
        **found,
    }
    print_table(console, report)
    output.write(console, report, options.out / f"{options.name}.json")
    return 0


if __name__ == "__main__":
    sys.exit(main())
