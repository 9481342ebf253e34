"""Training on one core with the shared memory of a container; and in little memory."""

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tiny import FLAGS


pytestmark = [pytest.mark.vizdoom, pytest.mark.slow]


def train(tmp_path, *flags, group=None):
    """Train one update on one core with a /dev/shm of 64 MB."""
    enter = f"echo $$ > {group}/cgroup.procs && " if group else ""
    mount = enter + 'mount -t tmpfs -o size=64m tmpfs /dev/shm && exec "$@"'
    done = subprocess.run(
        ["unshare", "--map-root-user", "--mount", "sh", "-c", mount, "sh",
         sys.executable, "-m", "jaxfactory", "train", "--scenario", "basic",
         "--run", tmp_path / "run", *FLAGS[2:], *flags],
        capture_output=True, text=True, timeout=300,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        preexec_fn=lambda: os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}),
    )  # fmt: skip
    if "unshare" in done.stderr or "mount" in done.stderr:
        pytest.skip("no namespaces here")
    return done


def test_one_core_and_the_shared_memory_of_a_container(tmp_path):
    # The default's 64 environments, 8 steps of 4 tics.
    done = train(tmp_path, "--total-frames", "2048")
    assert done.returncode == 0, done.stderr
    assert "trained for 2,048 frames" in done.stdout


@pytest.fixture
def group():
    """A control group and the name of its memory limit; only root can make one."""
    places = {"memory.limit_in_bytes": "memory", "memory.max": "."}  # version 1, 2
    for limit, kind in places.items():
        folder = Path("/sys/fs/cgroup", kind, f"jaxfactory-test-{os.getpid()}")
        with contextlib.suppress(OSError):
            folder.mkdir()
            there = (folder / limit).exists()
            if there:
                yield folder, limit
            folder.rmdir()
            if there:
                return
    pytest.skip("no control groups here")


def test_fewer_environments_where_memory_is_limited(tmp_path, group):
    # 32 need 510 MB and 32 x (4 MB and 2 x 9 images of 128 x 72 x 3), 654 MB.
    group, limit = group
    (group / limit).write_text(str(650_000_000))
    done = train(tmp_path, "--total-frames", "1024", group=group)
    assert done.returncode == 0, done.stderr
    assert "training with 16; --num-envs sets the number" in done.stdout
    assert (
        json.loads((tmp_path / "run/config.json").read_text())["env"]["num_envs"] == 16
    )
    done = train(tmp_path, "--total-frames", "1024", "--num-envs", "64", group=group)
    assert done.returncode == 2
    assert "use --num-envs 16, or free some of it" in done.stderr
