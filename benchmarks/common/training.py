"""Runs the jaxfactory command for the benchmarks that train."""

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from common import output, processes


JAXFACTORY = (sys.executable, "-m", "jaxfactory")


class FailedError(Exception):
    """A command failed; the message has its name and the last line of its output."""


class Trained(NamedTuple):
    """A finished and evaluated run.

    Attributes:
        seconds: Wall-clock seconds of training, start-up included.
        evaluation: The contents of evaluation.json.
        metrics: The rows of metrics.jsonl.
    """

    seconds: float
    evaluation: dict[str, Any]
    metrics: list[dict[str, float]]


def call(*arguments: object) -> None:
    """Run ``jaxfactory`` with some arguments, without showing its output.

    Raises:
        FailedError: If it fails.
    """
    done = subprocess.run(
        [*JAXFACTORY, *map(str, arguments)], capture_output=True, text=True
    )
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
        raise FailedError(f"{arguments[0]} failed: {' '.join(last)}")


def evaluate(run: Path, episodes: int, checkpoint: str = "best") -> dict[str, Any]:
    """Evaluate a run's checkpoint and return the contents of evaluation.json.

    Raises:
        FailedError: If it fails.
    """
    call("evaluate", "--run", run, "--checkpoint", checkpoint, "--episodes", episodes)
    return json.loads((run / "evaluation.json").read_text())


def train_and_evaluate(
    flags: Sequence[object],
    episodes: int,
    checkpoint: str = "best",
    *,
    processes: int = 1,
) -> Trained:
    """Train a temporary run and evaluate it.

    Args:
        flags: Flags of ``jaxfactory train``, without ``--run``.
        episodes: Number of evaluation episodes.
        checkpoint: The evaluated checkpoint, ``"best"`` or ``"latest"``.
        processes: That train it together, started by ``jaxfactory launch``.

    Raises:
        FailedError: If a command fails.
    """
    launch = ("launch", "--processes", processes, "--") if processes > 1 else ()
    with tempfile.TemporaryDirectory(prefix="jaxfactory-bench-") as folder:
        run = Path(folder) / "run"
        start = time.perf_counter()
        call(*launch, "train", "--run", run, *flags)
        seconds = time.perf_counter() - start
        result = evaluate(run, episodes, checkpoint)
        return Trained(seconds, result, read_metrics(run))


@contextlib.contextmanager
def started(
    run: Path, flags: Sequence[object], log: Path, core: int | None = None
) -> Iterator[subprocess.Popen]:
    """Train while the block runs, and end training with it.

    Args:
        run: The run's directory.
        flags: Flags of ``jaxfactory train``, without ``--run``.
        log: File to which the output is appended.
        core: The only core that it may use; by default any.

    Yields:
        The process.
    """
    words = [*JAXFACTORY, "train", "--run", str(run), *map(str, flags)]
    with log.open("ab") as file:
        mine = os.sched_getaffinity(0)
        if core is not None:  # of this thread; the command inherits it
            os.sched_setaffinity(0, {core})
        try:
            process = subprocess.Popen(words, stdout=file, stderr=file)
        finally:
            os.sched_setaffinity(0, mine)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def read_metrics(run: Path) -> list[dict[str, float]]:
    """Return the rows of a run's metrics.jsonl."""
    lines = (run / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def thinned(points: list, most: int) -> list:
    """Return every n-th point of a curve, so that about ``most`` are left."""
    return points[:: max(1, len(points) // most)]


def parse(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Read the command line; unknown flags are ``arguments`` for `jaxfactory train`.

    SIGTERM is treated as Ctrl-C from then on, so that no training run is left behind.
    """
    processes.end_on_sigterm()
    parser.add_argument("--out", type=Path, default=output.FOLDER)
    options, options.arguments = parser.parse_known_args()
    return options
