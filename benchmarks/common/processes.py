"""Runs one measurement in a new process and cleans up after it."""

import contextlib
import json
import os
import re
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any, NoReturn


_GRACE_S = 5.0
_INSTANCE = re.compile(rb"viz_instance_id\0(\w+)")


def end_on_sigterm() -> None:
    """Treat SIGTERM as Ctrl-C from now on, so that what was started ends as well."""
    signal.signal(signal.SIGTERM, _interrupt)


def _interrupt(signum: int, frame: object) -> NoReturn:
    raise KeyboardInterrupt


def measure(command: list[str], timeout: float) -> dict[str, Any]:
    """Run a command in its own session and folder; return its JSON line.

    All processes of the session are ended, however the command ends.

    Args:
        command: Prints one JSON object as the last line of its stdout.
        timeout: Seconds after which it is ended.

    Returns:
        The object; or `{"error": sentence}`.
    """
    with tempfile.TemporaryDirectory(
        prefix="jaxfactory-bench-", ignore_cleanup_errors=True
    ) as folder:
        # Files, not pipes: an engine that outlives the worker would keep a pipe open.
        output, errors = Path(folder, "stdout"), Path(folder, "stderr")
        with output.open("wb") as stdout, errors.open("wb") as stderr:
            worker = subprocess.Popen(
                command,
                cwd=folder,
                env=_environment(),
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,
            )
            try:
                worker.wait(timeout)
            except subprocess.TimeoutExpired:
                return {"error": f"did not answer within {timeout:.0f} s"}
            finally:
                _end(worker)
        for line in reversed(output.read_text(errors="replace").splitlines()):
            if line.startswith("{"):
                return json.loads(line)
        last = errors.read_text(errors="replace").strip().splitlines()[-1:]
        return {"error": " ".join([f"ended with {worker.returncode}:", *last])}


def _environment() -> dict[str, str]:
    # The worker runs in another folder, so relative paths must become absolute.
    environment = dict(os.environ)
    paths = filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))
    environment["PYTHONPATH"] = os.pathsep.join(map(os.path.abspath, paths))
    return environment


def _end(worker: subprocess.Popen) -> None:
    """Interrupt a worker, then kill all remaining processes of its session."""
    if worker.poll() is None:
        worker.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired, KeyboardInterrupt):
            worker.wait(_GRACE_S)
    # Processes may fork while being killed, so repeat until none is left.
    deadline = time.monotonic() + _GRACE_S
    while members := session_members(worker.pid):
        names = [name for pid in members for name in _instance(pid)]
        for pid in members:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        _unlink(names)
        worker.poll()
        if time.monotonic() > deadline:
            break
        time.sleep(0.02)


def session_members(leader: int) -> list[int]:
    """Return the running processes of a session."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            # Fields after the name: state, ppid, pgrp, session.
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            if int(fields[3]) == leader and fields[0] != "Z":
                found.append(int(folder.name))
    return found


def _instance(pid: int) -> list[str]:
    with contextlib.suppress(OSError):
        line = Path(f"/proc/{pid}/cmdline").read_bytes()
        return [name.decode() for name in _INSTANCE.findall(line)]
    return []


def _unlink(instances: list[str]) -> None:
    # A killed DoomGame leaves its queues and shared memory behind.
    for instance in instances:
        for path in Path("/dev/shm").glob(f"ViZDoom*{instance}"):
            with contextlib.suppress(OSError):
                path.unlink()
