"""`jaxfactory launch` in tests: small runs, their metrics and their processes."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np

from jaxfactory.checkpoints.checkpoint_files import read_arrays
from jaxfactory.config import runs
from jaxfactory.training import loop
from jaxfactory.training.options import as_config, parse_train


# 8 environments of all processes or devices together; an update takes 64 frames.
ENVS = 8
TASK = (
    "--env", "gymnasium:CartPole-v1", "--num-steps", "8", "--num-groups", "2",
    "--num-minibatches", "2", "--num-epochs", "2", "--core", "gru", "--core-size", "8",
    "--hidden-size", "8", "--measurements-sizes", "8", "--keep-every", "64",
    "--lr-schedule", "constant",
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
    metrics = rows(run)[:5], rows(expected)
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
