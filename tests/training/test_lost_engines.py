"""Engines that cannot come back end a run with a message and a checkpoint."""

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
"""Deletes the map and kills all engines after the second update."""

import os
import signal
from pathlib import Path

calls = 0


def lose(iteration):
    global calls
    calls += 1
    if calls == 2:
        (iteration.run_dir.parent / "basic.wad").unlink()
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                name, _, rest = stat.read_text().partition(" (")[2].rpartition(") ")
            except OSError:
                continue
            if name == "vizdoom" and int(rest.split()[1]) == os.getpid():
                os.kill(int(stat.parent.name), signal.SIGKILL)
'''


@pytest.mark.vizdoom
def test_a_deleted_map(tmp_path):
    scenarios = Path(vizdoom.scenarios_path)
    for name in ("basic.wad", "basic.cfg"):
        shutil.copy(scenarios / name, tmp_path)
    (tmp_path / "lose.py").write_text(CALLBACK)
    run = tmp_path / "run"
    done = subprocess.run(
        [sys.executable, "-m", "jaxfactory", "train", "--run", run, *FLAGS,
         "--scenario", tmp_path / "basic.cfg", "--total-frames", "100000",
         "--callback", f"{tmp_path}/lose.py:lose"],
        capture_output=True, text=True, timeout=300, cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.strip().splitlines()[-1].startswith("jaxfactory: ")
    # Two rollouts of 4 environments, 8 steps and 4 tics.
    assert "the state at 256 frames is saved, resume with" in done.stdout
    host = run / "checkpoints" / "latest" / f"{256:012d}" / "host.json"
    assert json.loads(host.read_text())["frames"] == 256
