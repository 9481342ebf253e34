"""Faults around the engines: forks, limits, a full /dev/shm, names that are left."""

import os
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest
from engine_processes import names_by_lock, names_of

from jaxfactory.config import sizing
from jaxfactory.envs.pool import make_pool


pytestmark = [pytest.mark.vizdoom, pytest.mark.usefixtures("nothing_is_left")]


def run(code: str, *wrapper: str, **env: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [*wrapper, sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True, text=True, timeout=120, env={**os.environ, **env},
    )  # fmt: skip


def test_a_fork_leaves_the_pool_to_its_process():
    done = run("""
        import os, sys
        import numpy as np
        from jaxfactory.envs.pool import make_pool

        actions = np.zeros((2, 1), np.int32)
        pool = make_pool("basic", num_envs=2)
        pool.reset()
        child = os.fork()
        if child == 0:
            try:
                pool.step(actions)
            except RuntimeError as error:
                print(error, flush=True)
            sys.exit(5)  # runs what is left to do at the exit, such as closing the pool
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 5
        assert not pool.step(actions).info.restarted.any()
        pool.close()
        print("closed")
        """)
    assert done.returncode == 0, done.stderr
    assert "from which this one was forked; create a pool after the fork" in done.stdout
    assert done.stdout.endswith("closed\n")


# Limits in MB, for 16 engines that take 2 MB.
@pytest.mark.parametrize("size", [1, 2])
def test_a_full_shared_memory_is_a_sentence(size):
    code = """
        import sys
        from jaxfactory.cli import main
        from jaxfactory.envs.pool import make_pool
        try:
            with make_pool("basic", num_envs=16) as pool:
                pool.reset()
        except RuntimeError as error:
            print(type(error).__name__, error)
            sys.exit(1)
        """
    mount = f'mount -t tmpfs -o size={size}m tmpfs /dev/shm && exec "$@"'
    done = run(code, "unshare", "--map-root-user", "--mount", "sh", "-c", mount, "sh")
    if "unshare" in done.stderr or "mount" in done.stderr:
        pytest.skip("no namespaces here")
    assert done.returncode == 1, done.stderr
    assert done.stdout.startswith("EngineError ")
    assert "/dev/shm" in done.stdout
    assert not done.stderr


def test_names_are_safe_from_another_pid_namespace():
    """Process ids say nothing there; only the locks do."""
    with make_pool("basic", num_envs=2) as pool:
        pool.start()
        code = """
            from jaxfactory.envs.pool import make_pool
            for _ in range(3):
                with make_pool("basic", num_envs=4) as pool:
                    pool.reset()
            print("done")
            """
        done = run(
            code, "unshare", "--map-root-user", "--pid", "--fork", "--mount-proc"
        )
        if "unshare" in done.stderr:
            pytest.skip("no namespaces here")
        assert done.stdout == "done\n", done.stderr
        pool.reset()
    assert not names_of(os.getpid())


def test_few_names_exist_while_engines_start():
    """A process that is killed then leaves them to the next one to remove."""
    most, going = 0, True

    def look():
        nonlocal most
        while going:
            most = max(
                most, len({name[-10:] for name in names_by_lock(os.getpid())[0]})
            )
            time.sleep(0.0005)

    watch = threading.Thread(target=look)
    watch.start()
    try:
        with make_pool("basic", num_envs=32, num_workers=2) as pool:
            pool.reset()
    finally:
        going = False
        watch.join()
    assert 0 < most <= 8


def test_a_limit_of_time_is_no_choice_of_cores(monkeypatch):
    monkeypatch.setattr(sizing, "usable_cores", lambda: 1)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    with make_pool("basic", num_envs=4) as pool:
        pool.reset()
        assert pool.num_workers == 1
        affinity = [Path(f"/proc/{pid}/status").read_text() for pid in pool.engine_pids]
    cores = [text.split("Cpus_allowed_list:")[1].split()[0] for text in affinity]
    mine = (
        Path("/proc/self/status").read_text().split("Cpus_allowed_list:")[1].split()[0]
    )
    assert set(cores) == {mine}


def test_threads_that_cannot_be_made_are_a_sentence():
    code = """
        import resource, sys, threading
        from jaxfactory.cli import commands, main

        def no_thread(args):
            raise RuntimeError("can't start new thread")

        def no_memory(args):
            raise MemoryError

        for command in (no_thread, no_memory):
            commands.train = command
            print(main.main(["train"]))
        """
    done = run(code)
    assert done.stdout == "1\n1\n"
    assert "allows no more threads; use fewer --num-workers" in done.stderr
    assert "not enough memory; use fewer --num-envs" in done.stderr
    assert "Traceback" not in done.stderr
