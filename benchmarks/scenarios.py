"""What the default agent learns on each scenario: one training and 100 episodes each.

Results are kept by scenario in one JSON file, and a table is written from all that it
holds, so that scenarios can be trained one at a time and on several days.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import machine
import numpy as np
import output
import training
from rich.console import Console

import jaxfactory


class Published(NamedTuple):
    """A published score, and the frames that it took where they are told."""

    score: str
    frames: str = "not told"


# The field's published scores, of Sample Factory's Doom suite. Which return they are of
# is said where it is not the scenario's own.
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
    with tempfile.TemporaryDirectory(prefix="jaxfactory-bench-") as folder:
        run = Path(folder) / "run"
        start = time.perf_counter()
        training.call(
            "train", "--scenario", scenario, "--run", run, "--total-frames",
            options.frames, "--seed", options.seed, *options.arguments,
        )  # fmt: skip
        seconds = time.perf_counter() - start
        result = training.evaluate(run, options.episodes)
    return {
        "frames": options.frames,
        "seconds": seconds,
        "episodes": result["episodes"],
        "raw_return": result["raw_return"],
        "random_raw_return": play_at_random(scenario, options.episodes, options.seed),
        "shaped_return": result["shaped_return"],
        "seed": options.seed,
        "shared_machine": options.shared_machine,
        "arguments": options.arguments,
        "machine": machine.describe(),
    }


def play_at_random(scenario: str, episodes: int, seed: int) -> dict[str, float]:
    """Return the raw return of as many episodes of actions drawn evenly.

    Each environment plays its share to the end, so that long episodes count as often
    as short ones.
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
        "One training with the default preset each (`python benchmarks/scenarios.py`), "
        "and with the options in the last column, then 100 episodes of its best "
        "checkpoint with other seeds. Returns are mean +- standard deviation over the "
        "episodes, at random those of actions drawn evenly. Seconds are wall clock "
        "with start-up and compilation, in brackets where other programs ran beside "
        "it. The machine and commit of each row are in `scenarios.json`.",
        "",
        "| scenario | frames | seconds | raw return | at random "
        "| shaped return, as trained on | published | its frames | options |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    for name, row in sorted(found.items()):
        own, shaped = row["raw_return"], row["shaped_return"]
        drawn = row["random_raw_return"]
        seconds = f"{row['seconds']:.0f}"
        if row["shared_machine"]:
            seconds = f"({seconds})"
        published = PUBLISHED.get(name, Published("", ""))
        lines.append(
            f"| {name} | {row['frames']:,} | {seconds} "
            f"| {own['mean']:.2f} +- {own['std']:.2f} "
            f"| {drawn['mean']:.2f} +- {drawn['std']:.2f} "
            f"| {shaped['mean']:.2f} +- {shaped['std']:.2f} "
            f"| {published.score} | {published.frames} | {' '.join(row['arguments'])} |"
        )
    path.write_text("\n".join(lines) + "\n")


def parse() -> argparse.Namespace:
    """Read the command line; what is not known here goes to `jaxfactory train`."""
    parser = argparse.ArgumentParser(prog="scenarios.py", description=__doc__)
    parser.add_argument("scenarios", nargs="+")
    parser.add_argument("--frames", type=int, default=2_000_000)
    parser.add_argument("--episodes", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--shared-machine", action="store_true", help="other programs run meanwhile"
    )
    parser.add_argument("--out", type=Path, default=output.FOLDER)
    options, options.arguments = parser.parse_known_args()
    return options


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
        own = row["raw_return"]
        console.print(
            f"{scenario}: raw return {own['mean']:.2f} +- {own['std']:.2f} after "
            f"{row['frames']:,} frames, {row['seconds']:.0f} s",
            highlight=False,
        )
        # Read again each time: another scenario may have been trained meanwhile.
        found = json.loads(path.read_text()) if path.exists() else {}
        found[scenario] = row
        path.write_text(json.dumps(found, indent=2) + "\n")
        write_table(found, path.with_suffix(".md"))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
