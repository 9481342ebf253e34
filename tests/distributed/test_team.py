"""Processes end each other, with a sentence that names the one that is silent."""

import re
import signal
import socket
import subprocess
import sys
import time

import pytest
from places import TESTS

from jaxfactory.distributed.watched_clock import WatchedClock


SCRIPT = TESTS / "helpers" / "team_process.py"
TIMEOUT = 2.0
RESUME = "training stops here too; resume in 2 processes with: jaxfactory train --run"


def start(*what, timeout=TIMEOUT):
    """Start two processes that do `what` in their third update."""
    server = socket.create_server(("127.0.0.1", 0))
    places = (server.fileno(), server.getsockname()[1])
    processes = [
        subprocess.Popen(
            [sys.executable, SCRIPT, str(number), str(place), str(timeout), each],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            pass_fds=[server.fileno()] if number == 0 else [],
        )
        for number, (place, each) in enumerate(zip(places, what, strict=True))
    ]  # fmt: skip
    server.close()
    return processes


def ended(process, within):
    """Return exit code, output and errors of a process."""
    output, errors = process.communicate(timeout=within)
    return process.returncode, output, errors


@pytest.mark.parametrize(
    ("who", "signum", "sentence"),
    [
        (1, signal.SIGKILL, r"process 1 \(pid PID on \S+\) has ended"),
        (0, signal.SIGKILL, r"process 0 on 127\.0\.0\.1 has ended"),
        (1, signal.SIGSTOP, r"process 1 \(pid PID on \S+\) has not answered for"),
        (0, signal.SIGSTOP, r"process 0 on 127\.0\.0\.1 has not answered for"),
    ],
)
def test_a_process_that_is_killed_or_stopped_ends_the_other(who, signum, sentence):
    processes = start("go-on", "go-on")
    try:
        for process in processes:
            assert process.stdout.readline() == "going on\n"
        began = time.monotonic()
        processes[who].send_signal(signum)
        code, output, errors = ended(processes[1 - who], within=TIMEOUT + 5)
        assert time.monotonic() - began < TIMEOUT + 5
        assert code == 1
        assert output == "cleaned up\n"
        sentence = sentence.replace("PID", str(processes[who].pid))
        assert re.fullmatch(f"jaxfactory: {sentence}.*; {RESUME} runs/x\n", errors)
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def test_a_pause_of_all_processes_ends_none():
    """As of a container, a virtual machine or a whole process group."""
    processes = start("go-on", "go-on", timeout=5.0)
    try:
        for process in processes:
            assert process.stdout.readline() == "going on\n"
        for signum, pause in ((signal.SIGSTOP, 8.0), (signal.SIGCONT, 3.0)):
            for process in processes:
                process.send_signal(signum)
            time.sleep(pause)
        assert [process.poll() for process in processes] == [None, None]
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def test_a_clock_does_not_count_pauses():
    now = [100.0]
    clock = WatchedClock(3.0, lambda: now[0])
    looks = []
    for passed in (0.0, 1.0, 2.5, 1000.0, 0.5):
        now[0] += passed
        looks.append(clock())
    assert looks == [0.0, 1.0, 3.5, 6.5, 7.0]


def test_a_process_that_hangs_ends_both():
    processes = start("go-on", "hang")
    for process in processes:
        code, output, errors = ended(process, within=TIMEOUT + 20)
        assert (code, output) == (1, "cleaned up\n")
        assert re.fullmatch(
            rf"jaxfactory: process 1 \(pid {processes[1].pid} on \S+\) has not "
            f"finished update 3 of this session within 2 seconds; {RESUME} runs/x\n",
            errors,
        )


@pytest.mark.parametrize(
    ("what", "names"),
    [
        (("mistake", "go-on"), "0"),
        (("go-on", "mistake"), "1"),
        (("mistake", "mistake"), "[01]"),
    ],
)
def test_a_mistake_is_reported_once_by_process_0(what, names):
    first, second = (ended(process, within=20) for process in start(*what))
    assert first[0] == second[0] == 2
    text = f"jaxfactory: process {names} has a flag that is wrong\n"
    assert re.fullmatch(text, first[2])
    assert second[2] == ""
