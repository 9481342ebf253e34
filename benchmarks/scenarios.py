"""Trains the default agent once on each scenario and evaluates it for 100 episodes.

One JSON file keeps the results by scenario, and a table is written from all of them, so
that scenarios can be trained one at a time.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from common import machine, training
from rich.console import Console

import jaxfactory


class Published(NamedTuple):
    """A published score, and its number of training frames if published."""

    score: str
    frames: str = "not published"


# Published scores of Sample Factory on its Doom suite; raw returns unless stated
# otherwise.
PUBLISHED = {
    "basic": Published("0.75"),
    "defend_the_center": Published("25.0"),
    "defend_the_line": Published("43.5 +- 2.5"),
    "deadly_corridor": Published("17 to 19"),
    "health_gathering_supreme": Published("66 to 67, shaped", "10,000,000,000"),
    "battle": Published("59.4 +- 3.9"),
    "battle2": Published("36.4 +- 4.2"),
    "two_colors_easy": Published("58"),
    "duel_bots": Published("55.4 +- 17.1"),
    "deathmatch_bots": Published("85.7 +- 28.5"),
}


def attempt(scenario: str, options: argparse.Namespace) -> dict[str, Any]:
    """Train and evaluate one scenario."""
    flags = [
        "--scenario", scenario, "--total-frames", options.frames,
        "--seed", options.seed, *options.arguments,
    ]  # fmt: skip
    run = training.train_and_evaluate(flags, options.episodes)
    return {
        "frames": options.frames,
        "seconds": run.seconds,
        "episodes": run.evaluation["episodes"],
        "raw_return": run.evaluation["raw_return"],
        "random_raw_return": act_at_random(scenario, options.episodes, options.seed),
        "shaped_return": run.evaluation["shaped_return"],
        "seed": options.seed,
        "shared_machine": options.shared_machine,
        "arguments": options.arguments,
        "machine": machine.describe(),
    }


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
        "One training run with the default preset for each scenario "
        "(`python benchmarks/scenarios.py`), plus the options in the last column. The "
        "best checkpoint is evaluated for 100 episodes on other seeds. Returns are "
        "mean +- standard deviation over episodes; the random policy draws actions "
        "uniformly. Seconds are wall clock including start-up and compilation, in "
        "parentheses if other programs ran on the machine. `scenarios.json` has the "
        "machine and commit of each row.",
        "",
        "| scenario | frames | seconds | raw return | raw return, random policy "
        "| shaped return | published | published frames | options |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    for name, row in sorted(found.items()):
        raw, shaped = row["raw_return"], row["shaped_return"]
        drawn = row["random_raw_return"]
        seconds = f"{row['seconds']:.0f}"
        if row["shared_machine"]:
            seconds = f"({seconds})"
        published = PUBLISHED.get(name, Published("", ""))
        lines.append(
            f"| {name} | {row['frames']:,} | {seconds} "
            f"| {raw['mean']:.2f} +- {raw['std']:.2f} "
            f"| {drawn['mean']:.2f} +- {drawn['std']:.2f} "
            f"| {shaped['mean']:.2f} +- {shaped['std']:.2f} "
            f"| {published.score} | {published.frames} | {' '.join(row['arguments'])} |"
        )
    path.write_text("\n".join(lines) + "\n")


def parse() -> argparse.Namespace:
    """Read the command line; unknown flags go to `jaxfactory train`."""
    parser = argparse.ArgumentParser(prog="scenarios.py", description=__doc__)
    parser.add_argument("scenarios", nargs="+")
    parser.add_argument("--frames", type=int, default=2_000_000)
    parser.add_argument("--episodes", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--shared-machine",
        action="store_true",
        help="other programs run on the machine",
    )
    return training.parse(parser)


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
        raw = row["raw_return"]
        console.print(
            f"{scenario}: raw return {raw['mean']:.2f} +- {raw['std']:.2f} after "
            f"{row['frames']:,} frames, {row['seconds']:.0f} s",
            highlight=False,
        )
        # Read the file again: another process may have added a scenario.
        found = json.loads(path.read_text()) if path.exists() else {}
        found[scenario] = row
        path.write_text(json.dumps(found, indent=2) + "\n")
        write_table(found, path.with_suffix(".md"))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
