"""A population whose policies are trained by several processes."""

import os
import signal
import time

import numpy as np
import pytest
from engine_processes import wait_until
from launched import TASK, alive, descendants, launch, rows, trainers

from jaxfactory.checkpoints.checkpoint_files import read_arrays
from jaxfactory.cli import main
from jaxfactory.config import runs
from jaxfactory.population import history


# Policy 3 learns nothing, and one of the others replaces it.
FLAGS = (
    *TASK, "--num-policies", "4", "--pbt", "--pbt-period", "1024", "--pbt-warmup",
    "1024", "--policy-values", "learning_rate=1e-2,1e-3,1e-2,1e-6", "--keep-every",
    "1024",
)  # fmt: skip


def arrays_of(run, number, frames):
    folder = runs.policy_dir(run, number) / "checkpoints" / "kept"
    return read_arrays(folder / f"{frames:012d}")[1]


def finished(process):
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors


def test_two_processes_train_a_population_as_one(tmp_path):
    both, one = tmp_path / "both", tmp_path / "one"
    process = launch(
        [*FLAGS, "--num-envs", "16", "--total-frames", "4096", "--run", str(both)]
    )
    flags = [*FLAGS, "--num-envs", "32", "--total-frames", "4096", "--run", str(one)]
    assert main.main(["train", *flags]) == 0
    finished(process)

    events = history.read(both / runs.POPULATION)
    assert events == history.read(one / runs.POPULATION)
    copies = [(e.policy, e.parent) for e in events if e.kind == "copy"]
    assert any(policy // 2 != parent // 2 for policy, parent in copies), copies
    for number in range(4):
        ours, theirs = (arrays_of(run, number, 4096) for run in (both, one))
        for name, array in ours.items():
            np.testing.assert_array_equal(array, theirs[name], err_msg=name)
    for row, other in zip(rows(both), rows(one), strict=True):
        assert row.keys() == other.keys()
        for name in row:
            if not name.startswith(("time/", "throughput/")):
                np.testing.assert_equal(row[name], other[name], name)


def test_a_signal_ends_both_and_the_population_goes_on(tmp_path):
    run = tmp_path / "run"
    flags = [*FLAGS, "--num-envs", "16", "--run", str(run), "--total-frames"]
    process = launch([*flags, "100000000"])
    assert wait_until(lambda: len(rows(run)) > 20, 300)
    started = descendants(process.pid)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert errors.count("everything is saved, resume in 2 processes with:") == 1
    assert not any(map(alive, started))
    saved = {
        runs.checkpoint_dirs(runs.policy_dir(run, number), "latest")[-1].name
        for number in range(4)
    }
    (frames,) = map(int, saved)
    assert frames == rows(run)[-1]["frames"]

    finished(launch([*flags, str(frames + 640)]))
    # In one process that has all environments.
    flags[flags.index("--num-envs") + 1] = "32"
    assert main.main(["train", *flags, str(frames + 1280)]) == 0
    assert rows(run)[-1]["frames"] == frames + 1280
    events = history.read(run / runs.POPULATION)
    assert [e.frames for e in events] == sorted(e.frames for e in events)


@pytest.mark.slow
@pytest.mark.parametrize("first", [0, 1])
def test_a_signal_that_comes_to_one_after_the_other_saves_all(first, tmp_path):
    """As from Slurm, Open MPI and Kubernetes."""
    run = tmp_path / "run"
    process = launch(
        [*FLAGS, "--num-envs", "16", "--run", str(run), "--total-frames", "100000000"]
    )
    assert wait_until(lambda: len(rows(run)) > 20, 300)
    started, numbers = descendants(process.pid), trainers(process.pid)
    for who in (first, 1 - first):
        os.kill(numbers[who], signal.SIGTERM)
        time.sleep(0.2)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM, errors
    assert errors.count("everything is saved, resume in 2 processes with:") == 1
    assert not any(map(alive, started))


@pytest.mark.slow
@pytest.mark.parametrize("who", [0, 1])
def test_a_process_that_is_killed_ends_both(who, tmp_path):
    run = tmp_path / "run"
    process = launch(
        [*FLAGS, "--num-envs", "16", "--run", str(run), "--step-timeout", "60",
         "--total-frames", "100000000"]
    )  # fmt: skip
    assert wait_until(lambda: len(rows(run)) > 20, 300)
    started, number = descendants(process.pid), trainers(process.pid)[who]
    os.kill(number, signal.SIGKILL)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "has ended; training stops here too; resume in 2 processes" in errors
    assert wait_until(lambda: not any(map(alive, started)), 5)


def test_policies_that_cannot_be_shared_equally_are_refused(tmp_path):
    process = launch(
        [*TASK, "--num-policies", "3", "--num-envs", "12", "--num-minibatches", "1",
         "--run", str(tmp_path / "run")]
    )  # fmt: skip
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 2
    assert errors.count("jaxfactory: --num-policies 3 must be a multiple of the 2") == 1
