"""Trains the default agent on each scenario, with three seeds, and evaluates it.

One JSON file keeps the results by scenario, and a table is written from all of them, so
that scenarios can be trained one at a time. Sample Factory trains for as many frames if
its virtual environment is given (see `common/sample_factory.py`).
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from common import machine, sample_factory, training
from rich.console import Console

import jaxfactory


class Published(NamedTuple):
    """A published score, and its number of training frames if published."""

    score: str
    frames: str = "not published"


# Published scores of Sample Factory on its Doom suite; raw returns unless stated
# otherwise.
PUBLISHED = {
    "basic": Published("0.75, scaled"),
    "defend_the_center": Published("25.0"),
    "defend_the_line": Published("43.5 +- 2.5"),
    "deadly_corridor": Published("17 to 19, scaled"),
    "health_gathering_supreme": Published("66 to 67, shaped", "10,000,000,000"),
    "battle": Published("59.4 +- 3.9"),
    "battle2": Published("36.4 +- 4.2"),
    "two_colors_easy": Published("58"),
    "duel_bots": Published("55.4 +- 17.1"),
    "deathmatch_bots": Published("85.7 +- 28.5"),
}


def attempt(scenario: str, options: argparse.Namespace) -> dict[str, Any]:
    """Train and evaluate one scenario with each seed."""
    runs = [_ours(scenario, seed, options) for seed in options.seeds]
    seed = options.seeds[0]
    return {
        "frames": options.frames,
        "runs": runs,
        "random_raw_return": act_at_random(scenario, options.episodes, seed),
        "sample_factory": [],
        "shared_machine": options.shared_machine,
        "arguments": options.arguments,
        "machine": machine.describe(),
    }


def _ours(scenario: str, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    flags = [
        "--scenario", scenario, "--total-frames", options.frames, "--seed", seed,
        *options.arguments,
    ]  # fmt: skip
    run = training.train_and_evaluate(flags, options.episodes)
    return _result(seed, run.seconds, run.evaluation)


def _result(seed: int, seconds: float, evaluation: dict[str, Any]) -> dict[str, Any]:
    return {
        "seed": seed,
        "seconds": seconds,
        "frames": evaluation["frames_trained"],
        "episodes": evaluation["episodes"],
        "raw_return": evaluation["raw_return"],
        "shaped_return": evaluation["shaped_return"],
    }


def attempt_theirs(
    scenario: str, seed: int, options: argparse.Namespace
) -> dict[str, Any]:
    """Train Sample Factory for as many frames, and evaluate its agent as ours.

    Raises:
        FailedError: If its training, the import of its agent or the evaluation fails.
    """
    with tempfile.TemporaryDirectory(
        prefix="jaxfactory-bench-", ignore_cleanup_errors=True
    ) as name:
        folder = Path(name)
        command = sample_factory.command(
            options, scenario, folder, options.frames, seed
        )
        began = time.perf_counter()
        try:
            sample_factory.train(command, folder / "log", 60 * options.minutes)
        except sample_factory.FailedError as error:
            raise training.FailedError(f"Sample Factory: {error}") from error
        seconds = time.perf_counter() - began
        run = folder / "imported"
        experiment = folder / sample_factory.EXPERIMENT
        training.call(
            "import-sample-factory", experiment, "--scenario", scenario, "--run", run
        )
        return _result(seed, seconds, training.evaluate(run, options.episodes))


def act_at_random(scenario: str, episodes: int, seed: int) -> dict[str, float]:
    """Return the raw return of uniformly random actions.

    Each environment runs an equal number of episodes, so that short episodes are not
    over-represented.
    """
    num_envs = 10
    with jaxfactory.make_pool(scenario, num_envs=num_envs, seed=seed) as pool:
        draw = np.random.default_rng(seed)
        heads = pool.spec.action.heads
        share = -(-episodes // num_envs)
        returns: list[list[float]] = [[] for _ in range(num_envs)]
        pool.reset()
        while min(map(len, returns)) < share:
            step = pool.step(draw.integers(heads, size=(num_envs, len(heads))))
            for env in np.flatnonzero(step.terminated | step.truncated):
                if len(returns[env]) < share:
                    returns[env].append(float(step.info.episode_raw_return[env]))
    return {"mean": float(np.mean(returns)), "std": float(np.std(returns))}


def write_table(found: dict[str, Any], path: Path) -> None:
    """Write the rows as a Markdown table."""
    lines = [
        "# Scenarios",
        "",
        "Training runs with the default preset on each scenario "
        "(`python benchmarks/scenarios.py`), plus the options in the last column. The "
        "best checkpoint of each run is evaluated on other seeds, and so is Sample "
        "Factory's, after as many frames on the same machine. Returns are "
        "means over the seeds +- their standard error; of a single seed, the mean "
        "over episodes +- their standard deviation, in brackets. The random policy "
        "draws actions uniformly (+- the standard deviation over episodes). Seconds "
        "are the mean wall clock of a run including start-up and compilation, in "
        "parentheses if other programs ran on the machine. `scenarios.json` has the "
        "machine and commit of each row.",
        "",
        "| scenario | frames | seeds | seconds | raw return "
        "| raw return, random policy | shaped return "
        "| raw return, Sample Factory, same frames, same machine "
        "| published | published frames | options |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    for name, row in sorted(found.items()):
        drawn, runs = row["random_raw_return"], row["runs"]
        seconds = f"{np.mean([run['seconds'] for run in runs]):.0f}"
        if row["shared_machine"]:
            seconds = f"({seconds})"
        published = PUBLISHED.get(name, Published("", ""))
        lines.append(
            f"| {name} | {row['frames']:,} | {len(runs)} | {seconds} "
            f"| {over_seeds(runs, 'raw_return')} "
            f"| {drawn['mean']:.2f} +- {drawn['std']:.2f} "
            f"| {over_seeds(runs, 'shaped_return')} "
            f"| {over_seeds(row['sample_factory'], 'raw_return')} "
            f"| {published.score} | {published.frames} | {' '.join(row['arguments'])} |"
        )
    path.write_text("\n".join(lines) + "\n")


def over_seeds(runs: list[dict[str, Any]], name: str) -> str:
    """Return the mean over seeds +- its standard error.

    A single seed has none: that of its episodes +- their standard deviation, in
    brackets. Without any seed, "".
    """
    if not runs:
        return ""
    if len(runs) == 1:
        one = runs[0][name]
        return f"[{one['mean']:.2f} +- {one['std']:.2f}]"
    means = [run[name]["mean"] for run in runs]
    error = np.std(means, ddof=1) / len(means) ** 0.5
    return f"{np.mean(means):.2f} +- {error:.2f}"


def parse() -> argparse.Namespace:
    """Read the command line; unknown flags go to `jaxfactory train`."""
    parser = argparse.ArgumentParser(prog="scenarios.py", description=__doc__)
    parser.add_argument("scenarios", nargs="+")
    parser.add_argument("--frames", type=int, default=2_000_000)
    parser.add_argument("--episodes", type=int, default=100)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    sample_factory.add_flags(parser)
    parser.add_argument(
        "--minutes",
        type=float,
        default=60.0,
        help="longest training of Sample Factory with a seed",
    )
    parser.add_argument(
        "--shared-machine",
        action="store_true",
        help="other programs run on the machine",
    )
    options = training.parse(parser)
    sample_factory.check(parser, options)
    return options


def _add_theirs(
    scenario: str, row: dict[str, Any], options: argparse.Namespace, console: Console
) -> bool:
    """Add Sample Factory's runs to a row; return whether they succeeded."""
    try:
        for seed in options.seeds:
            with console.status(f"Sample Factory, {scenario}, seed {seed}"):
                run = attempt_theirs(scenario, seed, options)
            row["sample_factory"].append(run)
    except training.FailedError as error:
        console.print(f"{scenario}: {error}", markup=False, highlight=False)
        return False
    said = over_seeds(row["sample_factory"], "raw_return")
    console.print(
        f"{scenario}: Sample Factory's raw return {said}", markup=False, highlight=False
    )
    return True


def main() -> int:
    """Run the benchmark; return the exit code."""
    options = parse()
    console = Console()
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / "scenarios.json"
    failed = 0
    for scenario in options.scenarios:
        try:
            with console.status(scenario):
                row = attempt(scenario, options)
        except training.FailedError as error:
            console.print(f"{scenario}: {error}", markup=False, highlight=False)
            failed += 1
            continue
        said = over_seeds(row["runs"], "raw_return")
        console.print(
            f"{scenario}: raw return {said} after {row['frames']:,} frames",
            markup=False,
            highlight=False,
        )
        if options.sample_factory:
            failed += not _add_theirs(scenario, row, options, console)
        # Read the file again: another process may have added a scenario.
        found = json.loads(path.read_text()) if path.exists() else {}
        found[scenario] = row
        path.write_text(json.dumps(found, indent=2) + "\n")
        write_table(found, path.with_suffix(".md"))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
