"""Measures how soon a training run has trained on its first frames.

Runs `jaxfactory train` for one iteration, several times each with: an empty compilation
cache, programs compiled by an earlier run, and the same without forked engines. All
take turns. Also measures the first reset of pools of several sizes. Writes
results/first_frames.json.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import machine, output, processes
from rich.console import Console


_POOLS = (2, 8, 64)
_RESET = """
import time, jaxfactory
with jaxfactory.make_pool("health_gathering_supreme", num_envs={envs}) as pool:
    begun = time.perf_counter()
    pool.reset()
    print(time.perf_counter() - begun)
"""


def first_frames(cache: str, forks: str, extra: list[str]) -> float:
    """Return the seconds from the command to the metrics of its first iteration."""
    with tempfile.TemporaryDirectory() as run_dir:
        metrics = Path(run_dir) / "run" / "metrics.jsonl"
        command = [
            sys.executable, "-m", "jaxfactory", "train", "--scenario",
            "health_gathering_supreme", "--total-frames", "8192",
            "--run", str(metrics.parent), *extra,
        ]  # fmt: skip
        environment = {
            **os.environ,
            "JAX_COMPILATION_CACHE_DIR": cache,
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1",
            "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "0",
            "JAXFACTORY_ENGINE_FORKS": forks,
        }
        begun = time.perf_counter()
        process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        seconds = 0.0
        try:
            for line in process.stdout:
                if line.startswith("frames 8,192"):
                    seconds = time.perf_counter() - begun
            code = process.wait()
        except KeyboardInterrupt:
            process.terminate()
            process.wait()
            raise
        if code or not seconds:
            raise SystemExit(f"first_frames.py: failed: {' '.join(command)}")
    return seconds


def first_reset(envs: int, forks: str) -> float:
    """Return the seconds of the first reset of a new pool."""
    done = subprocess.run(
        [sys.executable, "-c", _RESET.format(envs=envs)],
        env={**os.environ, "JAXFACTORY_ENGINE_FORKS": forks},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return float(done.stdout)


def main() -> int:
    """Run the benchmark; return the exit code."""
    parser = argparse.ArgumentParser(prog="first_frames.py", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=output.FOLDER)
    options, extra = parser.parse_known_args()
    processes.end_on_sigterm()
    if options.rounds < 1:
        parser.error(f"--rounds {options.rounds} must be 1 or more")
    described = machine.describe()
    seconds: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as warm:
        first_frames(warm, "on", extra)
        for _ in range(options.rounds):
            with tempfile.TemporaryDirectory() as cold:
                runs = {
                    "train, nothing compiled": (cold, "on"),
                    "train": (warm, "on"),
                    "train, no forks": (warm, "off"),
                }
                for name, (cache, forks) in runs.items():
                    taken = first_frames(cache, forks, extra)
                    seconds.setdefault(name, []).append(taken)
            for envs in _POOLS:
                for forks in ("on", "off"):
                    name = f"reset of {envs}" + ", no forks" * (forks == "off")
                    seconds.setdefault(name, []).append(first_reset(envs, forks))
    rows = {
        name: {"median": statistics.median(taken), "all": taken}
        for name, taken in seconds.items()
    }
    console = Console()
    for name, row in rows.items():
        console.print(f"{name:26} median {row['median']:6.2f} s")
    report = {"machine": described, "arguments": sys.argv[1:], "seconds": rows}
    output.write(console, report, options.out / "first_frames.json")
    return 0


if __name__ == "__main__":
    sys.exit(main())
