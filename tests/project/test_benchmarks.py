"""The benchmarks run, write what they should, and say who is missing. No timings."""

import json
import os
import re
import subprocess
import sys

import pytest
from places import ROOT
from tiny import FLAGS


def run(*arguments, path="", script="fps.py", timeout=120):
    paths = [str(path), str(ROOT), os.environ.get("PYTHONPATH", "")]
    return subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / script), *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))},
        capture_output=True,
        text=True,
        timeout=timeout,
    )


@pytest.mark.vizdoom
def test_quick_run(tmp_path):
    # A module of this name that cannot be imported stands for a missing EnvPool.
    (tmp_path / "envpool.py").write_text("raise ImportError('not here')\n")
    out = tmp_path / "out"
    done = run(
        "--quick", "--ceiling", "--only", "jaxfactory", "vector-env", "doomgame",
        "envpool", "--num-envs", 6, "--out", out, path=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (
        "EnvPool is skipped: EnvPool is not installed; get it with "
        "pip install 'jaxfactory[bench]'"
    ) in done.stdout
    report = json.loads((out / "fps.json").read_text())
    assert list(report["contenders"]) == ["jaxfactory", "vector-env", "doomgame"]
    assert list(report["skipped"]) == ["envpool"]
    for row in report["contenders"].values():
        assert len(row["frames_per_second"]) == 1
        assert row["min"] == row["median"] == row["max"] > 0
        assert row["ratio"] > 0
        assert row["measured"][0]["frames"] % 4 == 0
    assert report["contenders"]["jaxfactory"]["ratio"] == 1.0
    assert report["contenders"]["jaxfactory"]["setting"] == {
        "num_envs": 6,
        "num_groups": 2,
    }
    assert report["contenders"]["jaxfactory"]["measured"][0]["engine_user_share"] > 0
    assert report["machine"]["cores"] > 0
    assert report["machine"]["packages"]["vizdoom"]
    assert (out / "fps.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
@pytest.mark.vizdoom
def test_matches_of_a_size(tmp_path):
    done = run("--match", "2", "--quick", "--seconds", "0.3", "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "matches.json").read_text())
    cores = report["machine"]["cores"]
    assert [row["matches"] for row in report["rows"]] == sorted({1, cores, 2 * cores})
    for row in report["rows"]:
        assert row["agents"] == 2
        assert row["frames_per_second"][0] > 0


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--seconds", "0"], "--seconds 0 must be greater than 0"),
        (["--rounds", "0"], "--rounds 0 must be 1 or more"),
        (["--num-envs", "3"], "--num-envs 3 must be even and at least 2"),
        (
            ["--only", "envpol"],
            "there is no contender named 'envpol'; did you mean 'envpool'?",
        ),
        (["--scenario", "basics"], "there is no scenario named 'basics'"),
        (["--match", "2,x"], "--match 2,x must be numbers from 1 to 16"),
        (["--fast"], "unrecognized arguments: --fast"),
    ],
)
def test_a_mistake_is_one_sentence(arguments, sentence):
    done = run(*arguments)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert done.stdout == ""


def test_overhead_runs(tmp_path):
    done = run(
        "--num-envs", "4", "8", "--rounds", "2", "--seconds", "0.05",
        "--out", tmp_path, script="overhead.py",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "overhead.json").read_text())
    assert [len(rates) for rates in report["steps_per_second"].values()] == [2, 2]


def test_startup_runs():
    done = run("--rounds", "1", "--modules", script="startup.py")
    assert done.returncode == 0, done.stderr
    assert re.search(r"import jaxfactory +fastest 0\.\d\d s", done.stdout)
    assert re.search(r"\d \| +\d+ \| +jaxfactory.cli.main\n", done.stdout)


@pytest.mark.slow
def test_first_frames_runs(tmp_path):
    done = run(
        "--rounds", "1", "--out", tmp_path, script="first_frames.py", timeout=400
    )
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "first_frames.json").read_text())
    assert all(row["median"] > 0 for row in report["seconds"].values())
    assert len(report["seconds"]) == 9


@pytest.mark.slow
def test_update_runs(tmp_path):
    # A module of this name that cannot be imported stands for a missing PyTorch.
    (tmp_path / "torch.py").write_text("raise ImportError('not here')\n")
    done = run(
        "--presets", "default", "--rounds", "2", "--seconds", "0.1",
        "--out", tmp_path, script="update.py", path=tmp_path, timeout=400,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "update.json").read_text())
    found = report["presets"]["default"]
    assert {*found["skipped"]} == {"torch", "torch-channels-last", "torch-bf16"}
    for rates in found["microseconds"].values():
        assert len(rates["jaxfactory"]) == 2


@pytest.mark.slow
@pytest.mark.vizdoom
def test_train_runs_both_modes(tmp_path):
    done = run(
        "--presets", "default", "--rounds", "1", "--warmup", "1", "--seconds", "2",
        "--out", tmp_path, *FLAGS, script="train.py", timeout=400,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "train.json").read_text())
    assert all(rates[0] > 0 for rates in report["contenders"].values())
    assert len(report["contenders"]) == 2


@pytest.mark.slow
@pytest.mark.vizdoom
def test_time_to_score_stops_at_the_bar(tmp_path):
    # A bar that a new agent passes, and one that none can.
    for bar, reached in (("0.5", True), ("20", False)):
        done = run(
            "--bar", bar, "--seeds", "3", "--minutes", "0.7", "--episodes", "4",
            "--out", tmp_path, *FLAGS, script="time_to_score.py", timeout=400,
        )  # fmt: skip
        report = json.loads((tmp_path / "time_to_score.json").read_text())
        (seed,) = report["seeds"]
        assert (seed["reached"] is not None) == reached, done.stderr
        assert done.returncode == (0 if reached else 1)
    assert seed["evaluations"] == []


@pytest.mark.slow
@pytest.mark.vizdoom
def test_modes_trains_and_scores_both(tmp_path):
    done = run(
        "--seeds", "3", "--frames", "4096", "--episodes", "4",
        "--out", tmp_path, *FLAGS, script="modes.py", timeout=400,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "modes.json").read_text())
    for mode in ("sync", "async"):
        (row,) = report["values"][mode]
        assert row["frames"] >= 4096
        assert row["raw_return"]["mean"] > 0


@pytest.mark.slow
@pytest.mark.vizdoom
def test_scenarios_keeps_earlier_rows(tmp_path):
    for name in ("basic", "simpler_basic"):
        done = run(
            name, "--frames", "4096", "--episodes", "4", "--seeds", "0", "1",
            "--out", tmp_path, *FLAGS, script="scenarios.py", timeout=400,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout
    assert {*json.loads((tmp_path / "scenarios.json").read_text())} == {
        "basic",
        "simpler_basic",
    }
    table = (tmp_path / "scenarios.md").read_text()
    assert "| basic | 4,096 | 2 |" in table
    assert "| 0.75 |" in table


def test_scenarios_averages_over_seeds():
    program = """
import scenarios
runs = [{"raw_return": {"mean": m, "std": 3.0}} for m in (1.0, 2.0, 6.0)]
print(scenarios.over_seeds(runs, "raw_return"))
print(scenarios.over_seeds(runs[:1], "raw_return"))
print(repr(scenarios.over_seeds([], "raw_return")))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT / "benchmarks",
        capture_output=True, text=True,
    )  # fmt: skip
    # Mean 3; deviations -2, -1, 3: variance 14 / 2; its root over that of 3 is 1.53.
    assert done.stdout.splitlines() == ["3.00 +- 1.53", "[1.00 +- 3.00]", "''"]


@pytest.mark.slow
@pytest.mark.vizdoom
def test_plateau_counts_frames_by_variant(tmp_path):
    done = run(
        "--seeds", "3", "4", "--frames", "4096", "--bar", "-100", "--scenario", "basic",
        "--variant", "one:", "--variant", "two: --gamma 0.9",
        "--out", tmp_path, *FLAGS, script="plateau.py", timeout=400,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((tmp_path / "plateau.json").read_text())
    assert report["flags"] == {"one": [], "two": ["--gamma", "0.9"]}
    for rows in report["variants"].values():
        assert [row["seed"] for row in rows] == [3, 4]
