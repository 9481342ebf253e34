"""A training run in a process of its own, and what it takes of the machine."""

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common.processes import session_members
from common.training import JAXFACTORY

from enduring.usage import usage


SMALL = (
    "--num-envs", "4", "--num-steps", "8", "--num-minibatches", "2",
    "--conv-channels", "4", "4", "4", "--hidden-size", "16", "--core-size", "16",
)  # fmt: skip


# Bytes, more than any row has.
_TAIL = 1 << 16


class BrokenError(Exception):
    """Something did not hold; the message says what."""


class Trainer:
    """``jaxfactory train`` in a session of its own; a context manager that ends it."""

    def __init__(self, run: Path, flags: Sequence[object]) -> None:
        self.run = run
        self._log = run.with_suffix(".log")
        self._before = self._written()
        self._read = 0  # bytes of metrics.jsonl
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [*JAXFACTORY, "train", "--run", str(run), *map(str, flags)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip

    def __enter__(self) -> "Trainer":
        return self

    def __exit__(self, *exception: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def output(self) -> str:
        """Return the last lines of what it printed."""
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-5:])

    def _written(self) -> int:
        """Return when metrics.jsonl was last written, in ns; 0 without one."""
        with contextlib.suppress(OSError):
            return (self.run / "metrics.jsonl").stat().st_mtime_ns
        return 0

    def rows(self) -> list[dict[str, Any]]:
        """Return the rows of metrics.jsonl so far."""
        with contextlib.suppress(OSError):
            lines = (self.run / "metrics.jsonl").read_text().splitlines(keepends=True)
            return [json.loads(line) for line in lines if line.endswith("\n")]
        return []

    def new_rows(self) -> list[dict[str, Any]]:
        """Return the rows since the last call; a long run has too many to read all."""
        with (
            contextlib.suppress(OSError),
            (self.run / "metrics.jsonl").open("rb") as file,
        ):
            file.seek(self._read)
            complete = file.read().rpartition(b"\n")
            self._read += len(complete[0]) + len(complete[1])
            return [json.loads(line) for line in complete[0].splitlines()]
        return []

    def wait_for_row(self, frames: int, timeout: float = 300.0) -> None:
        """Wait until this process has trained beyond some frames.

        Raises:
            BrokenError: If it ends before, or does not come so far.
        """
        deadline = time.monotonic() + timeout
        while True:
            # Rows beyond the newest checkpoint may be the killed trainer's, until the
            # new one has cut them off.
            if self._written() > self._before and self._frames() > frames:
                return
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise BrokenError(f"training does not go on: {self.output()}")
            time.sleep(0.05)

    def signal_all(self, number: signal.Signals) -> None:
        """Send a signal to the trainer and all of its processes."""
        for pid in session_members(self.process.pid):
            with contextlib.suppress(OSError):
                os.kill(pid, number)

    def rate(self, seconds: float) -> float:
        """Return frames/s over so many seconds, from one row of metrics to another.

        Raises:
            BrokenError: If training does not go on.
        """
        self.wait_for_row(self._frames())
        begun, frames = time.monotonic(), self._frames()
        time.sleep(seconds)
        self.wait_for_row(self._frames())
        return (self._frames() - frames) / (time.monotonic() - begun)

    def _frames(self) -> int:
        """Return those of the newest row, without reading the others; -1 for none."""
        with (
            contextlib.suppress(OSError),
            (self.run / "metrics.jsonl").open("rb") as file,
        ):
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL))
            complete = file.read().rpartition(b"\n")[0].splitlines()
            return json.loads(complete[-1])["frames"] if complete else -1
        return -1

    def kill(self) -> None:
        """Send SIGKILL and wait for the end."""
        self.process.kill()
        self.process.wait()

    def terminate(self) -> float:
        """Send SIGTERM; return the seconds until the end.

        Raises:
            BrokenError: If it does not save and leave with 143.
        """
        start = time.perf_counter()
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(120)
        if code != 128 + signal.SIGTERM:
            raise BrokenError(f"SIGTERM ended it with {code}: {self.output()}")
        return time.perf_counter() - start

    def engines(self) -> list[int]:
        """Return the engines' process ids, that of the fork server among them."""
        found = []
        for pid in session_members(self.process.pid):
            with contextlib.suppress(OSError):
                line = Path(f"/proc/{pid}/cmdline").read_bytes()
                if b"viz_instance_id" in line:
                    found.append(pid)
        return found

    def use(self) -> dict[str, float]:
        """Return what the trainer and its processes take: `usage.usage`."""
        pid = self.process.pid
        others = [other for other in session_members(pid) if other != pid]
        return usage(pid, others)
