"""`jaxfactory launch`: several processes on this machine that train together."""

# ruff: noqa: T201 - the command line prints.

import contextlib
import dataclasses
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from jaxfactory._util.errors import UserError
from jaxfactory.cli import train_command
from jaxfactory.config import runs, sizing, validation
from jaxfactory.config.flags import parse
from jaxfactory.training.options import as_config, parse_train


# Seconds between the failure of one process and the end of the others, which have been
# told by then and clean up.
_PATIENCE = 4.5
_POLL_SECONDS = 0.1
_GPUS = Path("/proc/driver/nvidia/gpus")


@dataclasses.dataclass(frozen=True, kw_only=True)
class LaunchOptions:
    """Start several processes that train together on this machine.

    As in: jaxfactory launch --processes 2 -- train --scenario basic
    """

    processes: int = 2
    """Number of processes; --num-envs of train is each one's."""
    restarts: int = 0
    """Start all again from the last checkpoint so many times, if one of them fails."""

    def __post_init__(self) -> None:
        validation.positive(self, "processes")
        validation.at_most(self, processes=1024, restarts=10**6)
        if self.restarts < 0:
            raise UserError(f"--restarts {self.restarts} must be 0 or more")


def run(args: list[str]) -> int:
    """Run the command; return its exit code.

    Raises:
        UserError: If the flags are wrong, before anything is started.
    """
    own, separator, rest = args, "", []
    if "--" in args:
        at = args.index("--")
        own, separator, rest = args[:at], "--", args[at + 1 :]
    options = parse(LaunchOptions, LaunchOptions(), own, "launch")
    if not separator or not rest or rest[0] != "train":
        raise UserError(
            "launch starts a training run, which follows after --, as in: jaxfactory "
            "launch --processes 2 -- train --scenario basic"
        )
    train_command.refuse_auto(sizing.wants_auto(rest[1:]))
    train = parse_train(rest[1:])
    train_command.check_early(as_config(train))
    if train.coordinator or train.num_processes or train.process_id is not None:
        raise UserError(
            "launch itself sets --coordinator, --num-processes and --process-id; leave "
            "them out"
        )
    # A restarted run must find its checkpoint.
    run_dir = train.run or runs.new_run_dir(train.env.scenario)
    flags = [*rest[1:], "--run", str(run_dir)] if train.run is None else rest[1:]
    try:
        return _restarting(options, flags)
    finally:
        if train.run is None:
            runs.remove_empty(run_dir)


def _restarting(options: LaunchOptions, flags: list[str]) -> int:
    left = options.restarts
    while True:
        code, stopped = _together(options.processes, flags)
        # 2 is a mistake in the settings, which a restart repeats; and with the output
        # of `launch | head` closed, nobody wants more of it.
        if not code or stopped or code in (2, 128 + signal.SIGPIPE) or not left:
            return code
        left -= 1
        print(
            f"jaxfactory: the processes ended with code {code}; starting them again "
            f"({left} restarts left)",
            file=sys.stderr,
        )


def _together(count: int, flags: list[str]) -> tuple[int, bool]:
    """Run the processes once; return the exit code, and whether a signal stopped it."""
    place = f"127.0.0.1:{_free_port()}"
    children: list[subprocess.Popen] = []
    try:
        with _forwarding(children) as stopped:
            for number in range(count):
                child = _start(count, number, place, flags)
                children.append(child)
            _wait(children)
        codes = [child.returncode for child in children]
        failed = [code for code in codes if code]
        # A process that was killed says less than those that noticed.
        code = max([0, *failed]) or (128 - min(failed) if failed else 0)
        return code, bool(stopped)
    finally:
        for child in children:
            if child.poll() is None:
                child.kill()
                child.wait()


def _start(count: int, number: int, place: str, flags: list[str]) -> subprocess.Popen:
    module = "jaxfactory.cli.sweep_child"
    command = [sys.executable, "-m", module, str(os.getpid()), "train", *flags]
    command += ["--coordinator", place, "--num-processes", str(count)]
    command += ["--process-id", str(number)]
    # The child must find the same modules as this process.
    path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
    with _share_of_cores(count, number):
        return subprocess.Popen(
            command,
            # A terminal's Ctrl-C reaches only this process, which forwards it.
            start_new_session=True,
            env={
                **os.environ, "PYTHONPATH": path, **_share_of_gpus(count, number)
            },
        )  # fmt: skip


@contextlib.contextmanager
def _share_of_cores(count: int, number: int) -> Iterator[None]:
    """Let a process that starts inside inherit its own cores, if there are enough.

    Otherwise the engines of all processes would be pinned to the same ones.
    """
    cores = sorted(os.sched_getaffinity(0))
    share = cores[number * len(cores) // count : (number + 1) * len(cores) // count]
    if share:
        os.sched_setaffinity(0, share)
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


def _share_of_gpus(count: int, number: int) -> dict[str, str]:
    """Return the variable that gives a process its own GPUs, if there are enough."""
    name = "CUDA_VISIBLE_DEVICES"
    if name in os.environ:
        gpus = [gpu for gpu in os.environ[name].split(",") if gpu]
    else:
        gpus = [str(i) for i in range(len(list(_GPUS.glob("*"))))]
    if len(gpus) < count:
        return {}
    first, end = number * len(gpus) // count, (number + 1) * len(gpus) // count
    return {name: ",".join(gpus[first:end])}


@contextlib.contextmanager
def _forwarding(children: list[subprocess.Popen]) -> Iterator[list[int]]:
    """Pass signals on to the processes; yield those that have arrived."""
    seen: list[int] = []

    def handle(signum: int, frame: object) -> None:
        del frame
        seen.append(signum)
        for child in children:
            if child.poll() is None:
                number = signal.SIGTERM if signum == signal.SIGHUP else signum
                child.send_signal(number)

    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as under nohup
        numbers.append(signal.SIGHUP)
    before = {number: signal.signal(number, handle) for number in numbers}
    try:
        yield seen
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _wait(children: list[subprocess.Popen]) -> None:
    """Wait for all; if one fails, kill those that do not end by themselves."""
    deadline = None
    while left := [child for child in children if child.poll() is None]:
        if deadline is None and any(child.returncode for child in children):
            deadline = time.monotonic() + _PATIENCE
        # The others end by themselves, but one that was stopped cannot.
        if deadline is not None and (
            time.monotonic() > deadline or all(map(_is_stopped, left))
        ):
            return
        time.sleep(_POLL_SECONDS)


def _is_stopped(child: subprocess.Popen) -> bool:
    try:
        fields = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2]
    except OSError:
        return False
    return fields.split()[0] == "T"


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]
