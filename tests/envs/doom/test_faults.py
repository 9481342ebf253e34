"""Engines that die, hang or cannot start, and trainers that are killed."""

import contextlib
import ctypes
import gc
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from engine_processes import broken, gone, names_of, wait_until

from jaxfactory._util import paths
from jaxfactory.cli import main
from jaxfactory.envs.doom import engine_sandbox
from jaxfactory.envs.doom.pool import EngineError
from jaxfactory.envs.pool import make_pool


pytestmark = [pytest.mark.vizdoom, pytest.mark.usefixtures("nothing_is_left")]

OPTIONS = {"num_envs": 4, "num_groups": 2, "seed": 3}


def actions_of(pool, steps: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.integers(0, pool.spec.action.heads, (steps, pool.num_envs, 1), np.int32)


def harm_at_step_5(how, **options) -> tuple[list, list[float]]:
    """Play 12 steps and call `how(pids)` before step 5; returns copies and times."""
    seen, times = [], []
    with make_pool("basic", **OPTIONS, **options) as pool:
        pool.reset()
        for number, actions in enumerate(actions_of(pool, 12)):
            if number == 5:
                how(pool.engine_pids)
            begun = time.monotonic()
            step = pool.step(actions)
            times.append(time.monotonic() - begun)
            info = step.info
            seen.append(
                [a.copy() for a in (*step[:-1], info.final_obs, info.restarted)]
            )
    return seen, times


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGSTOP])
def test_a_lost_engine_truncates_its_own_row_only(sign):
    quiet, _ = harm_at_step_5(lambda pids: None)
    seen, times = harm_at_step_5(
        lambda pids: os.kill(pids[1], sign), engine_timeout=1.0
    )
    others = [0, 2, 3]
    for number, (one, other) in enumerate(zip(seen, quiet, strict=True)):
        for a, b in zip(one[:5], other[:5], strict=True):
            np.testing.assert_array_equal(a[others], b[others], f"step {number}")
        _, _, terminated, truncated, is_first, *_, restarted = one
        assert not terminated[1]
        assert restarted.tolist() == [False, number == 5, False, False]
        assert truncated[1] == is_first[1] == (number == 5)
    _, reward, *_, final_obs, _ = seen[5]
    np.testing.assert_array_equal(final_obs[1], seen[4][0][1])
    assert reward[1] == 0
    assert times[5] < 6


def test_all_engines_killed_at_once():
    seen, _ = harm_at_step_5(lambda pids: [os.kill(p, signal.SIGKILL) for p in pids])
    for number, step in enumerate(seen):
        assert (step[-1] == (number == 5)).all()
        assert (step[3] == (number == 5)).all()


@pytest.mark.parametrize(
    ("sign", "says"),
    [(signal.SIGKILL, "killed by signal 9"), (signal.SIGSTOP, r"1\.0 s")],
)
def test_on_failure_raise(sign, says):
    with make_pool("basic", on_failure="raise", engine_timeout=1.0, **OPTIONS) as pool:
        pool.reset()
        pids = pool.engine_pids
        os.kill(pids[2], sign)
        begun = time.monotonic()
        with pytest.raises(EngineError, match=says):
            pool.step(actions_of(pool, 1)[0])
        assert time.monotonic() - begun < 6
        with pytest.raises(EngineError, match="is not running"):
            pool.step(actions_of(pool, 1)[0])
        assert pool.reset().is_first.all()  # which starts another engine
        pids += pool.engine_pids
    assert all(gone(pid) for pid in pids)


def test_killed_during_reset_is_restarted():
    with make_pool("basic", **OPTIONS) as pool:
        pool.reset()
        pool.step(actions_of(pool, 1)[0])
        os.kill(pool.engine_pids[0], signal.SIGKILL)
        assert pool.reset().is_first.all()
        pool.step(actions_of(pool, 1)[0])


def swapped(arguments: list[str], flag: str, value: str) -> list[str]:
    at = arguments.index(flag) + 1
    return [*arguments[:at], value, *arguments[at + 1 :]]


@pytest.mark.parametrize("on_failure", ["restart", "raise"])
@pytest.mark.parametrize(
    ("case", "says"),
    [
        ("no executable", "exit status 127 while it started"),
        ("another program", "while it started"),
        ("a silent program", "did not answer within 1.0 s"),
        ("no game data", "The engine.s file /none.wad cannot be read"),
    ],
)
def test_an_engine_that_cannot_start(monkeypatch, tmp_path, case, says, on_failure):
    silent = tmp_path / "silent"
    silent.write_text("#!/bin/sh\nexec sleep 100\n")
    silent.chmod(0o755)
    changes = {
        "no executable": lambda exe, args: ("/no/such/engine", args),
        "another program": lambda exe, args: ("/bin/true", args),
        "a silent program": lambda exe, args: (str(silent), args),
        "no game data": lambda exe, args: (exe, swapped(args, "-iwad", "/none.wad")),
    }
    if case == "a silent program":  # which an engine's rules would not let run
        monkeypatch.setenv(engine_sandbox.SWITCH, "off")
    broken(monkeypatch, changes[case])
    begun = time.monotonic()
    with (
        make_pool(
            "basic", num_envs=2, start_timeout=1.0, engine_timeout=1.0,
            on_failure=on_failure,
        ) as pool,
        pytest.raises(EngineError, match=says),
    ):  # fmt: skip
        pool.reset()
    assert time.monotonic() - begun < 20


TRAINER = """
    import os, signal, sys, time
    import numpy as np
    from jaxfactory.envs.pool import make_pool
    # A shell's background job would ignore it, and so would what it starts.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    pool = make_pool("basic", num_envs=4)
    print("made", flush=True)
    try:
        pool.reset()
        print(*pool.engine_pids, flush=True)
        while True:
            pool.step(np.zeros((4, 1), np.int32))
    except KeyboardInterrupt:
        pids = pool.engine_pids
        pool.close()
        left = [p for p in pids if os.path.exists(f"/proc/{p}")]
        print("interrupted", bool(left), flush=True)
"""


@pytest.fixture
def trainer(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(TRAINER)],
        stdout=subprocess.PIPE, text=True, start_new_session=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )  # fmt: skip
    with process:
        yield process
        process.kill()


def engines_of(pid: int) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            if int(path.read_text().rpartition(")")[2].split()[1]) == pid:
                found.append(int(path.parent.name))
        except (OSError, IndexError):
            continue
    return found


def test_a_killed_trainer_leaves_nothing(trainer, tmp_path):
    assert trainer.stdout.readline() == "made\n"
    pids = [int(pid) for pid in trainer.stdout.readline().split()]
    assert len(pids) == 4
    time.sleep(0.2)
    trainer.kill()
    trainer.wait()
    assert wait_until(lambda: all(gone(pid) for pid in pids))
    assert not names_of(trainer.pid)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("delay", [0.0, 0.01, 0.05])
def test_a_trainer_killed_during_start_up(trainer, delay):
    assert trainer.stdout.readline() == "made\n"
    time.sleep(delay)
    pids = engines_of(trainer.pid)
    trainer.kill()
    trainer.wait()
    assert wait_until(lambda: all(gone(pid) for pid in pids))
    time.sleep(0.2)
    # Whatever names it had no time to remove go when the next pool is made.
    with make_pool("basic", num_envs=1):
        assert not names_of(trainer.pid)


def test_ctrl_c(trainer):
    trainer.stdout.readline()
    pids = [int(pid) for pid in trainer.stdout.readline().split()]
    time.sleep(0.2)
    os.killpg(trainer.pid, signal.SIGINT)
    # The engines are in a group of their own: Ctrl-C ends them through `close` only.
    assert trainer.stdout.readline() == "interrupted False\n"
    assert trainer.wait(10) == 0
    assert all(gone(pid) for pid in pids)


def test_ctrl_c_while_an_engine_hangs(trainer):
    trainer.stdout.readline()
    pids = [int(pid) for pid in trainer.stdout.readline().split()]
    os.kill(pids[0], signal.SIGSTOP)
    time.sleep(0.3)
    begun = time.monotonic()
    trainer.send_signal(signal.SIGINT)
    assert trainer.stdout.readline() == "interrupted False\n"
    assert time.monotonic() - begun < 5
    assert trainer.wait(10) == 0


def test_an_exception_inside_with():
    with pytest.raises(KeyError), make_pool("basic", num_envs=2) as pool:  # noqa: PT012
        pool.reset()
        pids = pool.engine_pids
        raise KeyError
    assert all(gone(pid) for pid in pids)


def test_a_dropped_pool_ends_its_engines():
    pool = make_pool("basic", num_envs=2)
    step = pool.reset()
    copy, pids = step.obs.copy(), pool.engine_pids
    del pool
    gc.collect()
    assert all(gone(pid) for pid in pids)
    np.testing.assert_array_equal(step.obs, copy)


def test_an_engine_that_cannot_start_is_told_in_a_sentence(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(paths, "engine_folder", lambda: tmp_path / "gone")
    monkeypatch.chdir(tmp_path)
    small = "--num-envs 2 --num-steps 4 --num-minibatches 1 --conv-channels 4 4 4"
    assert main.main(["train", "--scenario", "basic", *small.split()]) == 1
    said = capsys.readouterr().err
    assert said.startswith("jaxfactory: The Doom engine (process ")
    assert "ended with exit status 127 while it started; check that" in said
    assert said.count("\n") == 1


def test_closing_while_a_group_steps():
    pool = make_pool("basic", **OPTIONS)
    pool.reset()
    pids = pool.engine_pids
    pool.send(0, np.zeros((2, 1), np.int32))
    pool.close()
    assert all(gone(pid) for pid in pids)


def test_many_pools_leave_nothing():
    def held() -> tuple[int, int]:
        threads = len(os.listdir("/proc/self/task"))
        return threads, len(os.listdir("/proc/self/fd"))

    def once():
        with make_pool("basic", num_envs=2) as pool:
            pool.reset()

    once()
    before = held()
    for _ in range(20):
        once()
    assert wait_until(lambda: held() == before), (before, held())


class StoppedWithLock:
    """Stops an engine just while it holds the lock of its queue to us.

    The queue is in our memory too. A robust lock names the thread that holds it, which
    is looked for where the queue begins.
    """

    HEADER = 256  # bytes; the lock lies in the first of them
    THREAD = 0x3FFFFFFF  # what of a lock's word is the thread; the rest are flags

    def __init__(self, pid: int):
        self._pid = pid
        maps = Path("/proc/self/maps").read_text().splitlines()
        self._queues = [
            np.frombuffer(
                (ctypes.c_char * self.HEADER).from_address(
                    int(line.partition("-")[0], 16)
                ),
                np.uint32,
            )
            for line in maps
            if "ViZDoomMQCtr" in line
        ]

    def __call__(self, limit: float = 60.0) -> None:
        threads = [int(thread) for thread in os.listdir(f"/proc/{self._pid}/task")]
        end = time.monotonic() + limit
        while time.monotonic() < end:
            os.kill(self._pid, signal.SIGSTOP)
            time.sleep(0.0005)
            if any(np.isin(q & self.THREAD, threads).any() for q in self._queues):
                return
            os.kill(self._pid, signal.SIGCONT)
            time.sleep(0.0003)
        pytest.skip(f"in {limit} s it was never stopped with the lock")


@contextlib.contextmanager
def stepped(pool):
    """Step a pool on another thread; yields what it said of restarts."""
    restarted, going = [], True

    def play():
        actions = np.zeros((pool.num_envs, 1), np.int32)
        with contextlib.suppress(RuntimeError):  # The pool was closed.
            while going:
                restarted.append(pool.step(actions).info.restarted.copy())

    thread = threading.Thread(target=play)
    thread.start()
    try:
        yield restarted
    finally:
        going = False
        thread.join(30)
        assert not thread.is_alive()


def test_an_engine_that_hangs_with_its_queues_lock_is_replaced():
    """Nobody who waits for the lock can give up; somebody else must help."""
    with make_pool("basic", num_envs=2, engine_timeout=1.5) as pool:
        pool.reset()
        with stepped(pool) as restarted:
            StoppedWithLock(pool.engine_pids[0])()
            assert wait_until(lambda: any(row[0] for row in restarted), 20)
        assert not any(row[1] for row in restarted)


def test_closing_with_an_engine_that_hangs_with_its_queues_lock():
    pool = make_pool("basic", num_envs=2, engine_timeout=600.0)
    pool.reset()
    pids = pool.engine_pids
    with stepped(pool):
        StoppedWithLock(pids[0])()
        pool.close()
    assert all(gone(pid) for pid in pids)
