"""Measures the overhead of the pool: steps/s of an environment that does nothing.

The environment counts, writes 16 bytes and ends its episode every ten steps. The rest
of the time is the pool with its threads and its Python interface.
"""

import argparse
import statistics
import sys
import time
from pathlib import Path

import numpy as np
from common import machine, output
from rich.console import Console

from jaxfactory import _core


_GROUPS = 2


def measure(num_envs: int, seconds: float) -> float:
    """Return steps/s; the caller sends and receives group by group."""
    config = _core.PoolConfig()
    config.num_envs, config.num_groups = num_envs, _GROUPS
    pool = _core.Pool(_core.CountingConfig(), config)
    size = num_envs // _GROUPS
    actions = np.zeros((size, 1), np.int32)
    for group in range(_GROUPS):
        pool.send_reset(group)
        pool.recv(group)
        pool.send(group, actions)
    steps, start = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - start) < seconds:
        for group in range(_GROUPS):
            pool.recv(group)
            pool.send(group, actions)
            steps += size
    for group in range(_GROUPS):
        pool.recv(group)
    pool.close()
    return steps / elapsed


def main() -> int:
    """Run the benchmark; return the exit code."""
    parser = argparse.ArgumentParser(prog="overhead.py", description=__doc__)
    parser.add_argument("--num-envs", type=int, nargs="+", default=[16, 64, 256, 1024])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--out", type=Path, default=output.FOLDER)
    options = parser.parse_args()
    console = Console()
    where = machine.describe()
    found: dict[int, list[float]] = {count: [] for count in options.num_envs}
    for _ in range(options.rounds):
        for count in options.num_envs:
            found[count].append(measure(count, options.seconds))
    for count, rates in found.items():
        console.print(
            f"{count:>6} environments: {statistics.median(rates):>12,.0f} steps/s "
            f"({min(rates):,.0f} - {max(rates):,.0f})",
            highlight=False,
        )
    report = {"machine": where, "steps_per_second": found}
    output.write(console, report, options.out / "overhead.json")
    return 0


if __name__ == "__main__":
    sys.exit(main())
