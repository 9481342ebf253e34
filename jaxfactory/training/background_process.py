"""The worker process of background evaluation, seen from the trainer."""

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any


# How long the worker may take to exit before it is killed.
_EXIT_SECONDS = 15.0


class EndedError(Exception):
    """The worker process has ended."""


class Process:
    """The worker process: one line of JSON per job, one line per answer.

    It runs in its own session, so that a terminal's Ctrl-C reaches only the
    trainer. It exits when its standard input is closed, however the trainer ends.

    Args:
        log: Receives the worker's standard error; removed if it stays empty.
    """

    def __init__(self, log: Path) -> None:
        self._path = log
        self._received = b""
        # The worker must find the user's own modules.
        path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
        # The trainer may have filled the GPU's memory.
        environment = {**os.environ, "PYTHONPATH": path, "JAX_PLATFORMS": "cpu"}
        with log.open("a") as file:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "jaxfactory.training.background_worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=file,
                start_new_session=True,
                env=environment,
            )
        assert self._process.stdout is not None
        self._answers = self._process.stdout.fileno()
        os.set_blocking(self._answers, False)

    def send(self, job: dict[str, Any]) -> None:
        """Send a job."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(job).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError as error:
            self._ended(error)

    def answer(self) -> dict[str, Any] | None:
        """Return the answer to the job, None if there is none yet.

        Raises:
            EndedError: If the process has ended.
        """
        try:
            data = os.read(self._answers, 65536)
        except BlockingIOError:
            return None
        if not data:
            self._ended(None)
        self._received += data
        if not self._received.endswith(b"\n"):
            return None
        answer: dict[str, Any] = json.loads(self._received)
        self._received = b""
        return answer

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(_EXIT_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        with contextlib.suppress(FileNotFoundError):
            if not self._path.stat().st_size:
                self._path.unlink()

    def _ended(self, error: BaseException | None) -> None:
        self.close()
        raise EndedError(f"exit code {self._process.returncode}") from error
