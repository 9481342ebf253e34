"""`launch`: several processes compute what one does, and end and resume together."""

import os
import re
import signal
import subprocess
import sys

import pytest
from engine_processes import wait_until
from launched import (
    ENVS,
    alive,
    assert_same_training,
    descendants,
    launch,
    rows,
    task,
    train_here,
    trainers,
)

from jaxfactory.cli import launcher, main
from jaxfactory.config import runs


def test_two_processes_or_devices_train_as_one(tmp_path):
    train_here(tmp_path / "one", "1")
    train_here(tmp_path / "devices", "2")
    assert_same_training(tmp_path / "devices", tmp_path / "one")
    run = tmp_path / "processes"
    process = launch(task(10**9, run, envs=ENVS // 2))
    assert wait_until(lambda: len(rows(run)) > 4, 300)
    started = descendants(process.pid)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    saved = "everything is saved, resume in 2 processes with: jaxfactory train --run"
    assert errors.count(saved) == 1
    assert wait_until(lambda: not any(map(alive, started)), 5)
    assert_same_training(run, tmp_path / "one")
    # One process with two devices resumes what two processes have trained.
    frames = rows(run)[-1]["frames"]
    assert int(runs.checkpoint_dirs(run, "latest")[-1].name) == frames
    train_here(run, "2", frames + 64)
    assert [row["frames"] for row in rows(run)][-2:] == [frames, frames + 64]


@pytest.mark.slow
def test_a_process_that_is_killed_ends_the_run_which_is_started_again(tmp_path):
    run = tmp_path / "run"
    flags = task(10**9, run, "--checkpoint-minutes", "0.0001", envs=ENVS // 2)
    process = launch(flags, "--restarts", "1")
    try:
        assert wait_until(lambda: len(rows(run)) > 3, 300)
        first = trainers(process.pid)
        started = descendants(process.pid)
        assert first.keys() == {0, 1}
        os.kill(first[1], signal.SIGKILL)
        assert wait_until(lambda: not any(map(alive, started)), 15)
        trained = len(rows(run))
        assert wait_until(lambda: len(rows(run)) > trained + 3, 300)
        started |= descendants(process.pid)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 128 + signal.SIGTERM
    who = rf"process 1 \(pid {first[1]} on \S+\) has ended; training stops here too"
    assert re.search(rf"^jaxfactory: {who}; resume in 2 processes with", errors, re.M)
    again = "the processes ended with code 1; starting them again (0 restarts left)"
    assert again in errors
    saved = "stopped by SIGTERM; everything is saved, resume in 2 processes with:"
    assert errors.count(saved) == 1
    assert wait_until(lambda: not any(map(alive, started)), 10)
    frames = [row["frames"] for row in rows(run)]
    assert frames == sorted(frames)  # The second session went on from a checkpoint.
    assert int(runs.checkpoint_dirs(run, "latest")[-1].name) == frames[-1]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--processes", "2"], "launch starts a training run, which follows after --"),
        (["--processes", "0", "--", "train"], "--processes 0 must be greater than 0"),
        (["--restarts", "-1", "--", "train"], "--restarts -1 must be 0 or more"),
        (["--", "train", "--num-envs", "auto"], "work in one process only"),
        (["--", "train", "--process-id", "1"], "launch itself sets --coordinator"),
        (["--", "train", "--ent-coeff", "1"], "did you mean '--ent-coef'?"),
        (["--", "train", "--env", "gymnasium:None-v0"], "no environment 'None-v0'"),
    ],
)
def test_a_mistake_is_reported_before_anything_starts(
    flags, message, capsys, monkeypatch
):
    monkeypatch.setattr(launcher, "_start", None)
    assert main.main(["launch", *flags]) == 2
    errors = capsys.readouterr().err
    assert errors.startswith("jaxfactory: ")
    assert message in errors
    assert errors.count("\n") == 1


def test_a_mistake_that_all_processes_find_is_reported_once(tmp_path):
    process = launch(task(320, tmp_path / "run", "--bptt", "4", envs=ENVS // 2))
    _, errors = process.communicate(timeout=200)
    assert process.returncode == 2
    assert errors == (
        "jaxfactory: --bptt 4 works on one device only; leave it out, or train with "
        "one process and --devices 1\n"
    )


STOPPED = "import os, signal; os.kill(os.getpid(), signal.SIGSTOP)"


@pytest.mark.parametrize(
    ("programs", "code"),
    [
        (("pass", "pass"), 0),
        (("pass", "exit(2)"), 2),
        ((STOPPED, "exit(1)"), 1),
        (("exit(1)", STOPPED), 1),
        (("exit(1)", "import os; os.kill(os.getpid(), 9)"), 1),
        (("pass", "import os; os.kill(os.getpid(), 9)"), 137),
    ],
)
def test_launch_waits_for_all_but_those_that_were_stopped(programs, code, monkeypatch):
    started = []

    def start(count, number, place, flags):
        assert (count, flags) == (2, ["--seed", "1"])
        started.append(subprocess.Popen([sys.executable, "-c", programs[number]]))
        return started[-1]

    monkeypatch.setattr(launcher, "_start", start)
    assert launcher._together(2, ["--seed", "1"]) == (code, False)
    assert [process.poll() is not None for process in started] == [True, True]
