"""Processes that train together in Doom, async, and end at any moment. Slow."""

import os
import random
import re
import signal
import time

import numpy as np
import pytest
from engine_processes import names_of, wait_until
from launched import ENVS, alive, descendants, launch, rows, task, trainers
from tiny import FLAGS

from jaxfactory.cli import main
from jaxfactory.config import runs


pytestmark = pytest.mark.slow

STEP_TIMEOUT = 5
DOOM = ("--scenario", "basic", *FLAGS, "--checkpoint-minutes", "0.0001")
# Sleeps for ever in the second process, from step 100 on.
HANGING = """
import sys, time
import gymnasium

class Hang(gymnasium.Wrapper):
    steps = 0

    def step(self, action):
        self.steps += 1
        second = "--process-id 1" in " ".join(sys.argv)
        if self.steps > 100 and second:
            time.sleep(3600)
        return self.env.step(action)

gymnasium.register("Hang-v0", lambda: Hang(gymnasium.make("CartPole-v1")))
"""


@pytest.mark.vizdoom
def test_two_processes_train_in_doom_as_one(tmp_path):
    both, one = tmp_path / "both", tmp_path / "one"
    process = launch([*DOOM, "--total-frames", "1280", "--run", str(both)])
    _, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors
    flags = [*DOOM, "--num-envs", "8", "--total-frames", "1280", "--run", str(one)]
    assert main.main(["train", *flags]) == 0
    assert [row["frames"] for row in rows(both)] == [256, 512, 768, 1024, 1280]
    for row, other in zip(rows(both), rows(one), strict=True):
        for name in (name for name in other if name.startswith("losses/")):
            np.testing.assert_allclose(row[name], other[name], 1e-3, 1e-3, err_msg=name)
        assert row["episode/count"] == other["episode/count"]


@pytest.mark.vizdoom
@pytest.mark.parametrize("moment", range(10))
def test_a_death_at_a_random_moment_ends_all(moment, tmp_path):
    chance = random.Random(moment)
    who, signum = chance.randrange(2), (signal.SIGKILL, signal.SIGSTOP)[moment % 2]
    run = tmp_path / "run"
    timeout = ("--step-timeout", str(STEP_TIMEOUT))
    for _ in range(2):  # The second time it is resumed.
        before = len(rows(run))
        process = launch(
            [*DOOM, *timeout, "--total-frames", "100000000", "--run", str(run)]
        )
        try:
            assert wait_until(lambda n=before: len(rows(run)) > n + 2, 300)
            time.sleep(chance.uniform(0, 3))
            started, number = descendants(process.pid), trainers(process.pid)[who]
            names = set().union(*map(names_of, started))
            began = time.monotonic()
            os.kill(number, signum)
            _, errors = process.communicate(timeout=STEP_TIMEOUT + 30)
            seconds = time.monotonic() - began
            assert wait_until(lambda s=started: not any(map(alive, s)), 5)
        finally:
            process.kill()
        assert process.returncode == 1
        what = "ended" if signum == signal.SIGKILL else "not answered for"
        name = rf"process {who} \(pid {number} on \S+\)" if who else "process 0 on .*"
        assert re.search(rf"^jaxfactory: {name} has {what}.*resume in 2", errors, re.M)
        assert seconds < STEP_TIMEOUT + 5
        assert not {name for name in os.listdir("/dev/shm") if name in names}
        assert runs.checkpoint_dirs(run, "latest")


def test_a_pool_that_hangs_ends_all(tmp_path, monkeypatch):
    (tmp_path / "hanging.py").write_text(HANGING)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    flags = task(10**9, tmp_path / "run", "--env", "gymnasium:hanging:Hang-v0", envs=4)
    process = launch([*flags, "--step-timeout", "5"])
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 1
    hung = r"process 1 \(pid \d+ on \S+\) has not begun update \d+ of this session"
    found = re.findall(f"^jaxfactory: {hung} within 5 seconds", errors, re.M)
    assert len(found) == 2


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_async_trains_in_two_processes_until_a_signal(signum, tmp_path):
    run = tmp_path / "run"
    process = launch(task(10**9, run, "--mode", "async", envs=ENVS // 2))
    assert wait_until(lambda: len(rows(run)) > 30, 300)
    started = descendants(process.pid)
    process.send_signal(signum)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + signum
    assert errors.count("everything is saved, resume in 2 processes with:") == 1
    assert not any(map(alive, started))
    assert max(row["policy_lag/max"] for row in rows(run)) <= 1
    assert len({row["losses/loss"] for row in rows(run)}) > 20
    assert int(runs.checkpoint_dirs(run, "latest")[-1].name) == rows(run)[-1]["frames"]
