"""Starts and stops the processes of a sweep's runs, and reads their progress."""

import contextlib
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from jaxfactory._util import plain_files
from jaxfactory._util.errors import UserError
from jaxfactory.config import runs
from jaxfactory.distributed import gang
from jaxfactory.metrics import metrics_file
from jaxfactory.sweep.sweep_table import Job, Sweep


# Folder of the runs' output, next to the runs.
LOGS = "logs"
# How long a run that was told to stop may take to save before it is killed.
_STOP_SECONDS = 90.0
_TAIL_BYTES = 16_384


def is_finished(sweep: Sweep, job: Job) -> bool:
    """Whether a run is trained and, if the sweep does so, evaluated."""
    saved = runs.checkpoint_dirs(job.run_dir, "latest")
    trained = bool(saved) and int(saved[-1].name) >= job.config.total_frames
    return trained and (not sweep.evaluate or (job.run_dir / runs.EVALUATION).is_file())


def commands(sweep: Sweep, job: Job) -> list[list[str]]:
    """Return a job's commands, as arguments of ``jaxfactory``, in order."""
    run_dir = f"--run={job.run_dir.resolve()}"
    steps = [["train", *job.args, run_dir]]
    if sweep.evaluate:
        steps.append(["evaluate", run_dir, f"--episodes={sweep.evaluate}"])
    return steps


def make_folder(sweep: Sweep) -> None:
    """Create the sweep's folder and that of the logs.

    Raises:
        UserError: If they cannot be written.
    """
    logs = sweep.folder / LOGS
    try:
        logs.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=logs).close()
    except OSError as error:
        raise UserError(
            f"the sweep's folder {sweep.folder} cannot be written ({error.strerror}); "
            "give --output another one"
        ) from error


def log_of(sweep: Sweep, job: Job) -> Path:
    """Return the log file of a run."""
    return sweep.folder / LOGS / f"{job.name}.log"


class Child:
    """Runs a job's commands one after another, in their own session.

    Ctrl-C reaches only the sweep, which forwards it once. If the sweep is killed, the
    kernel signals its children.
    """

    def __init__(self, sweep: Sweep, job: Job, slot: int) -> None:
        self.job = job
        self.slot = slot
        self.code = 0
        self._cores = share_of_cores(slot, sweep.parallel)
        self._steps = commands(sweep, job)
        log = log_of(sweep, job)
        log.parent.mkdir(parents=True, exist_ok=True)
        self._log: IO[str] = log.open("a")
        self._process = self._start()

    def _start(self) -> subprocess.Popen:
        args = self._steps.pop(0)
        self._log.write(f"$ {shlex.join(['jaxfactory', *args])}\n")
        self._log.flush()
        module = "jaxfactory.cli.sweep_child"
        command = [sys.executable, "-m", module, str(os.getpid()), *args]
        # The child must find the same modules as this process.
        path = os.pathsep.join(filter(None, sys.path))
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**gang.alone(os.environ), "PYTHONPATH": path},
        )
        if self._cores:
            # The process may have ended already.
            with contextlib.suppress(ProcessLookupError):
                os.sched_setaffinity(process.pid, self._cores)
        return process

    def has_ended(self) -> bool:
        """Whether all commands are done or one has failed; starts the next one."""
        code = self._process.poll()
        if code is None:
            return False
        self.code = code
        if code == 0 and self._steps:
            self._process = self._start()
            return False
        self._log.close()
        return True

    def send(self, signum: int) -> None:
        """Send a signal to the running command."""
        self._process.send_signal(signum)

    def wait(self, seconds: float) -> bool:
        """Wait for the running command; return whether it has ended."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        self._log.close()
        return True


class Children:
    """The running children; a context manager that kills them on exit."""

    def __init__(self) -> None:
        self.running: list[Child] = []

    def __enter__(self) -> "Children":
        return self

    def __exit__(self, *exception: object) -> None:
        for child in self.running:
            child.send(signal.SIGKILL)
        for child in self.running:
            child.wait(_STOP_SECONDS)
        self.running = []

    def start(self, child: Child) -> None:
        """Add a started child."""
        self.running.append(child)

    def ended(self) -> Iterator[Child]:
        """Yield the children that have ended since the last call."""
        for child in list(self.running):
            if child.has_ended():
                self.running.remove(child)
                yield child

    def stop(self) -> None:
        """Tell every run to save and exit, and wait for them."""
        for child in self.running:
            child.send(signal.SIGINT)
        deadline = time.monotonic() + _STOP_SECONDS
        self.running = [
            child
            for child in self.running
            if not child.wait(max(0.1, deadline - time.monotonic()))
        ]


def progress(job: Job) -> float:
    """Return the fraction of a run's frames that is done, from 0 to 1."""
    row = last_metrics(job)
    return min(1.0, float(row.get("frames") or 0) / job.config.total_frames)


def last_metrics(job: Job) -> dict[str, float]:
    """Return the last training metrics of a run; empty if there are none yet."""
    for line in reversed(_tail(job.run_dir / runs.METRICS)):
        row = metrics_file.parse(line)
        # Lines without this are evaluations.
        if row is not None and "time/wall_clock" in row:
            return row
    return {}


def score(job: Job) -> str:
    """Return the suffix of a finished run's message: its training return."""
    value = last_metrics(job).get("episode/raw_return")
    return "" if value is None else f": raw return {value:.2f} in training"


def _tail(path: Path) -> list[str]:
    try:
        with plain_files.open_regular(path) as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
            return file.read().decode(errors="replace").splitlines()
    except (OSError, ValueError):
        return []


def last_line(log: Path) -> str:
    """Return the last line of a run's output."""
    lines = [line.strip() for line in _tail(log) if line.strip()]
    return lines[-1].removeprefix("jaxfactory: ") if lines else "no output"


def share_of_cores(slot: int, parallel: int) -> set[int]:
    """Return a parallel run's share of the cores; empty if it may use all of them."""
    cores = sorted(os.sched_getaffinity(0))
    if parallel == 1 or parallel > len(cores):
        return set()
    return set(
        cores[slot * len(cores) // parallel : (slot + 1) * len(cores) // parallel]
    )
