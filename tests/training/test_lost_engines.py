"""Engines that cannot come back end a run with a message and a checkpoint."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import vizdoom
from tiny import FLAGS


CALLBACK = '''
"""Makes engines impossible, and kills those that are there after the second update."""

import os
import signal
from pathlib import Path

calls = 0


def lose(iteration):
    global calls
    calls += 1
    if calls == 2:
        prepare(iteration.run_dir.parent)
        killed = 0
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                name, _, rest = stat.read_text().partition(" (")[2].rpartition(") ")
            except OSError:
                continue
            if name == "vizdoom" and int(rest.split()[1]) == os.getpid():
                os.kill(int(stat.parent.name), signal.SIGKILL)
                killed += 1
                if killed == MOST:
                    break


def prepare(folder):
'''
DELETE_THE_MAP = """    (folder / "basic.wad").unlink()

MOST = 10**6
"""
# New engines get memory for little more than their program.
REFUSE_MEMORY = """    import resource, threading, time

    def refuse(known):
        while True:
            for path in Path("/proc").glob("[0-9]*/comm"):
                try:
                    if path.read_text() == "vizdoom\\n" and path not in known:
                        pid = int(path.parent.name)
                        resource.prlimit(pid, resource.RLIMIT_AS, (2**20, 2**20))
                except OSError:
                    pass
            time.sleep(0.001)

    known = set(Path("/proc").glob("[0-9]*/comm"))
    threading.Thread(target=refuse, args=(known,), daemon=True).start()

MOST = 10**6
"""
# The engines that are killed leave room for none; threads that end, for a few.
FORBID_PROCESSES = """    group = Path({group!r})
    now = int((group / "pids.current").read_text())
    (group / "pids.max").write_text(str(now - MOST))

MOST = 16
"""


def train(tmp_path, prepare, *flags, group=None):
    """Train until engines are lost; return the process and the run."""
    (tmp_path / "lose.py").write_text(CALLBACK + prepare)
    run = tmp_path / "run"
    words = [
        sys.executable, "-m", "jaxfactory", "train", "--run", run, *FLAGS, *flags,
        "--total-frames", "100000", "--callback", f"{tmp_path}/lose.py:lose",
    ]  # fmt: skip
    if group is not None:
        enter = f'echo $$ > {group}/cgroup.procs && exec "$@"'
        words = ["sh", "-c", enter, "sh", *words]
    done = subprocess.run(
        words, capture_output=True, text=True, timeout=300, cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    return done, run


def frames_of_the_checkpoint(run):
    (saved,) = (run / "checkpoints" / "latest").iterdir()
    return json.loads((saved / "host.json").read_text())["frames"]


@pytest.mark.vizdoom
def test_a_deleted_map(tmp_path):
    scenarios = Path(vizdoom.scenarios_path)
    for name in ("basic.wad", "basic.cfg"):
        shutil.copy(scenarios / name, tmp_path)
    scenario = str(tmp_path / "basic.cfg")
    done, run = train(tmp_path, DELETE_THE_MAP, "--scenario", scenario)
    assert done.stderr.strip().splitlines()[-1].startswith("jaxfactory: ")
    # Two rollouts of 4 environments, 8 steps and 4 tics.
    assert "the state at 256 frames is saved, resume with" in done.stdout
    assert frames_of_the_checkpoint(run) == 256


@pytest.mark.slow
@pytest.mark.vizdoom
def test_no_memory_for_engines(tmp_path):
    done, run = train(tmp_path, REFUSE_MEMORY, "--scenario", "basic")
    assert "runs on this machine and that memory is left" in done.stderr
    assert "the state at 256 frames is saved, resume with" in done.stdout
    assert frames_of_the_checkpoint(run) == 256


@pytest.fixture
def group():
    """A control group that can limit the number of processes."""
    for root in (Path("/sys/fs/cgroup/pids"), Path("/sys/fs/cgroup")):
        folder = root / f"jaxfactory-test-{os.getpid()}"
        with contextlib.suppress(OSError):
            folder.mkdir()
            if (folder / "pids.max").exists():
                yield folder
                folder.rmdir()
                return
            folder.rmdir()
    pytest.skip("no control groups here")


@pytest.mark.slow
@pytest.mark.vizdoom
def test_no_processes_left(tmp_path, group):
    # Whose engines and threads make room for those that save the state.
    done, run = train(
        tmp_path, FORBID_PROCESSES.format(group=str(group)), "--scenario", "basic",
        "--num-envs", "64", group=group,
    )  # fmt: skip
    assert "Cannot start an engine process: Resource temporarily un" in done.stderr
    # Two rollouts of 64 environments, 8 steps and 4 tics.
    assert "the state at 4,096 frames is saved, resume with" in done.stdout
    assert frames_of_the_checkpoint(run) == 4096
