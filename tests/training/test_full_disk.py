"""Training on a file system that becomes full."""

import json
import os
import subprocess
import sys

import pytest
from tiny import FLAGS


pytestmark = pytest.mark.slow

FILLER = """
    import contextlib

    calls = 0

    def fill(iteration):
        global calls
        calls += 1
        file = iteration.run_dir.parent / "filler"
        if FIRST <= calls < LAST:  # again: a failed checkpoint gives back its part
            with contextlib.suppress(OSError), file.open("ab", buffering=0) as out:
                while True:
                    out.write(bytes(4096))
            with contextlib.suppress(OSError), file.open("ab", buffering=0) as out:
                while True:
                    out.write(b"x")
        if calls == LAST:
            file.unlink()
"""


def train(tmp_path, first: int, last: int) -> subprocess.CompletedProcess:
    """Train for 20 updates; copies the run to ``tmp_path / "kept"``."""
    place = tmp_path / "small"
    place.mkdir()
    lines = [line.removeprefix("    ") for line in FILLER.splitlines()]
    text = "\n".join(lines).replace("FIRST", str(first)).replace("LAST", str(last))
    (tmp_path / "filler.py").write_text(text)
    # A rollout is 4 x 8 frames.
    flags = (
        "--env", "gymnasium:CartPole-v1", *FLAGS, "--total-frames", "640",
        "--checkpoint-minutes", "0.0001", "--run", f"{place}/run",
        "--callback", f"{tmp_path}/filler.py:fill",
    )  # fmt: skip
    script = (
        'mount -t tmpfs -o size=4m tmpfs "$1" || exit 77; place=$1; kept=$2; shift 2; '
        '"$@"; code=$?; rm -f "$place/filler"; cp -r "$place/run" "$kept"; exit $code'
    )
    done = subprocess.run(
        ["unshare", "--map-root-user", "--mount", "sh", "-c", script, "sh", place,
         tmp_path / "kept", sys.executable, "-m", "jaxfactory", "train", *flags],
        capture_output=True, text=True, timeout=300, env=dict(os.environ),
    )  # fmt: skip
    if done.returncode == 77 or "unshare" in done.stderr:
        pytest.skip("no namespaces here")
    # Orbax's threads print tracebacks if the disk becomes full while they write.
    assert "/jaxfactory/training/" not in done.stderr
    return done


def test_a_disk_that_is_full_for_a_while(tmp_path):
    done = train(tmp_path, first=3, last=12)
    assert done.returncode == 0, done.stderr
    assert "JsonlWriter cannot write (No space left on device)" in done.stderr
    assert "a checkpoint cannot be written to" in done.stderr
    lines = (tmp_path / "kept" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["frames"] for line in lines] == list(range(32, 641, 32))
    latest = tmp_path / "kept" / "checkpoints" / "latest"
    assert (latest / "000000000640").is_dir()


def test_a_disk_that_stays_full(tmp_path):
    done = train(tmp_path, first=10, last=10**6)
    assert done.returncode == 2
    said = done.stderr.strip().splitlines()[-1]
    assert said.startswith("jaxfactory: the run's last checkpoint cannot be written to")
    assert "free disk space and resume from the one before" in said
    saved = list((tmp_path / "kept" / "checkpoints" / "latest").iterdir())
    assert saved
    assert all((path / "host.json").is_file() for path in saved)
