"""`launch`: several processes compute what one does, and end and resume together."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from engine_processes import wait_until

from jaxfactory.checkpoints.checkpoint_files import read_arrays
from jaxfactory.cli import launcher, main
from jaxfactory.config import runs
from jaxfactory.training import loop
from jaxfactory.training.options import as_config, parse_train


# 8 environments of all processes or devices together; an update takes 64 frames.
ENVS = 8
TASK = (
    "--env", "gymnasium:CartPole-v1", "--num-steps", "8", "--num-groups", "2",
    "--num-minibatches", "2", "--num-epochs", "2", "--core", "gru", "--core-size", "8",
    "--hidden-size", "8", "--measurements-sizes", "8", "--keep-every", "64",
)  # fmt: skip


def task(frames, run, *more, envs=ENVS):
    flags = ("--total-frames", str(frames), "--run", str(run), "--num-envs", str(envs))
    return [*TASK, *flags, *more]


def launch(flags, *own):
    command = [sys.executable, "-m", "jaxfactory", "launch", *own, "--", "train"]
    return subprocess.Popen(
        [*command, *flags], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def train_here(run, devices, frames=320, *more):
    config = as_config(parse_train(task(frames, run, *more)))
    loop.train(config, run, devices=devices)


def rows(run):
    file = run / runs.METRICS
    if not file.is_file():
        return []
    return [json.loads(line) for line in file.read_text().splitlines()]


def assert_same_training(run, expected):
    """Compare the first update's state, and the losses of five updates."""
    first = [read_arrays(path / "checkpoints/kept/000000000064")[1]
             for path in (run, expected)]  # fmt: skip
    assert first[0].keys() == first[1].keys()
    for name, array in first[0].items():
        np.testing.assert_allclose(array, first[1][name], 1e-5, 1e-5, err_msg=name)
    metrics = rows(run), rows(expected)
    assert [row["frames"] for row in metrics[0]] == [64, 128, 192, 256, 320]
    for row, other in zip(*metrics, strict=True):
        losses = [name for name in other if name.startswith("losses/")]
        assert len(losses) > 10
        for name in losses:
            np.testing.assert_allclose(row[name], other[name], 1e-3, 1e-3, err_msg=name)
        for name in [name for name in other if name.startswith("episode/")]:
            np.testing.assert_equal(row[name], other[name], name)
    assert metrics[0][-1]["episode/count"] > 5


def descendants(pid):
    """Return the processes that a process has started, and theirs."""
    found, todo = set(), [pid]
    while todo:
        folder = Path(f"/proc/{todo.pop()}/task")
        for file in folder.glob("*/children"):
            try:
                children = set(map(int, file.read_text().split()))
            except OSError:
                continue
            todo += children - found
            found |= children
    return found


def trainers(pid):
    """Return the processes that train, by their numbers."""
    found = {}
    for child in descendants(pid):
        try:
            words = Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"--process-id" in words:
            found[int(words[words.index(b"--process-id") + 1])] = child
    return found


def alive(pid):
    try:
        return (
            Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
        )
    except OSError:
        return False


def test_two_processes_or_devices_train_as_one(tmp_path):
    train_here(tmp_path / "one", "1")
    train_here(tmp_path / "devices", "2")
    assert_same_training(tmp_path / "devices", tmp_path / "one")
    process = launch(task(320, tmp_path / "processes", envs=ENVS // 2))
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert output.count("trained for 320 frames") == 1
    assert_same_training(tmp_path / "processes", tmp_path / "one")
    # One process resumes what two have trained, and the other way around.
    train_here(tmp_path / "processes", "2", 384)
    assert [row["frames"] for row in rows(tmp_path / "processes")][-2:] == [320, 384]


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
