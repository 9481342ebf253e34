"""The benchmark runs, writes what it should, and says who is missing. No timings."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


ROOT = Path(__file__).parent.parent
FPS = ROOT / "benchmarks" / "fps.py"


def run(*arguments, path=""):
    paths = [str(path), str(ROOT), os.environ.get("PYTHONPATH", "")]
    return subprocess.run(
        [sys.executable, str(FPS), *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))},
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.vizdoom
def test_quick_run(tmp_path):
    # A module of this name that cannot be imported stands for a missing EnvPool.
    (tmp_path / "envpool.py").write_text("raise ImportError('not here')\n")
    out = tmp_path / "out"
    done = run(
        "--quick", "--ceiling", "--only", "jaxfactory", "doomgame", "envpool",
        "--out", out, path=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (
        "EnvPool is skipped: EnvPool is not installed; get it with "
        "pip install 'jaxfactory[bench]'"
    ) in done.stdout
    report = json.loads((out / "fps.json").read_text())
    assert list(report["contenders"]) == ["jaxfactory", "doomgame"]
    assert list(report["skipped"]) == ["envpool"]
    for row in report["contenders"].values():
        assert len(row["frames_per_second"]) == 1
        assert row["min"] == row["median"] == row["max"] > 0
        assert row["ratio"] > 0
        assert row["measured"][0]["frames"] % 4 == 0
    assert report["contenders"]["jaxfactory"]["ratio"] == 1.0
    assert report["contenders"]["jaxfactory"]["measured"][0]["engine_user_share"] > 0
    assert report["machine"]["cores"] > 0
    assert report["machine"]["packages"]["vizdoom"]
    assert (out / "fps.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--seconds", "0"], "--seconds 0 must be greater than 0"),
        (["--rounds", "0"], "--rounds 0 must be 1 or more"),
        (["--only", "envpol"], "nobody is called 'envpol'; did you mean 'envpool'?"),
        (["--scenario", "basics"], "there is no scenario named 'basics'"),
        (["--fast"], "unrecognized arguments: --fast"),
    ],
)
def test_a_mistake_is_one_sentence(arguments, sentence):
    done = run(*arguments)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert done.stdout == ""
