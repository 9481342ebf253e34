"""Short forms of benchmarks/reliability.py: kills and chaos; the fitted slopes."""

import json
import subprocess
import sys

import numpy as np
import pytest
from places import PACKAGE


BENCHMARKS = PACKAGE.parent / "benchmarks"


def measure(folder, *flags):
    parts = (
        "--soak-minutes",
        "0",
        "--episodes",
        "0",
        "--aging-tics",
        "0",
        "--kills",
        "0",
        "--chaos-frames",
        "0",
    )
    script = BENCHMARKS / "reliability.py"
    done = subprocess.run(
        [sys.executable, script, *parts, *flags, "--out", folder],
        capture_output=True, text=True, timeout=580,
    )  # fmt: skip
    report = json.loads((folder / "reliability.json").read_text())
    assert done.returncode == 0, (report, done.stderr)
    assert "# Reliability" in (folder / "reliability.md").read_text()
    return report


SOAK = ("--soak-minutes", "0.15", "--soak-every", "1", "--soak-flags", "--num-envs 4")


@pytest.mark.vizdoom
def test_a_short_soak(tmp_path):
    soak = measure(tmp_path, *SOAK, "--soak-turns", "0")["soak"]
    assert soak["frames"] > 0
    assert soak["engine_restarts"] == 0
    assert soak["slopes"]["engines"] == {"mean": 5.0, "slope": 0, "standard_error": 0}
    assert soak["slopes"]["frames_per_second"]["mean"] > 0
    assert soak["slopes"]["trainer_mb"]["mean"] > 100


@pytest.mark.slow
@pytest.mark.vizdoom
def test_a_soak_and_turns_of_a_copy(tmp_path):
    flags = ("--soak-turns", "2", "--soak-name", "named")
    soak = measure(tmp_path, *SOAK, *flags)["named"]
    each = soak["frames_per_second_by_turns"]
    assert len(each) == len(soak["frames_per_second_by_turns_just_resumed"]) == 2
    assert 0.5 < soak["speed_over_just_resumed"] < 2.0


@pytest.mark.vizdoom
def test_aging(tmp_path):
    flags = ("--aging-tics", "0.02", "--aging-replaced", "4000")
    aging = measure(tmp_path, *flags)["aging"]
    never, replaced = aging["pools"].values()
    assert never["engines_replaced"] == 0
    # 20,000 tics each; an episode has up to 2,100.
    assert 8 * 2 <= replaced["engines_replaced"] <= 8 * 10
    assert {"engines_mb", "frames_per_second"} <= never["slopes"].keys()
    assert "replaced after 4,000 tics" in (tmp_path / "reliability.md").read_text()


def killed(folder, number):
    kills = measure(folder, "--kills", str(number))["kills"]
    assert kills["kills"] == number
    frames = kills["frames_of_the_newest_checkpoint_after_each_kill"]
    assert frames == sorted(frames)
    assert kills["frames_saved_by_sigterm"] > frames[-1]
    return kills


@pytest.mark.vizdoom
def test_two_kills(tmp_path):
    killed(tmp_path, 2)


@pytest.mark.slow
@pytest.mark.vizdoom
def test_thirty_kills(tmp_path):
    kills = killed(tmp_path, 30)
    assert kills["kills_while_a_checkpoint_was_written"] > 0
    assert kills["seconds_from_sigterm_to_exit"] <= 5.0


@pytest.mark.slow
@pytest.mark.vizdoom
def test_chaos(tmp_path):
    flags = ("--chaos-frames", "60000", "--chaos-every", "2", "--chaos-seeds", "1")
    chaos = measure(tmp_path, *flags)["chaos"]
    assert chaos["engine_restarts"] > 0
    assert chaos["transitions_without_a_living_engine"] == 0
    assert len(chaos["raw_returns_undisturbed"]) == 1


@pytest.mark.slow
@pytest.mark.vizdoom
def test_episodes(tmp_path):
    episodes = measure(tmp_path, "--episodes", "90")["episodes"]
    assert episodes["episodes"] >= 90
    assert episodes["engine_restarts"] == episodes["shm_names_left_behind"] == 0
    fits = [part["slopes"] for part in episodes["scenarios"].values()]
    assert all(fit["engines"]["slope"] == 0.0 for fit in fits)


def test_slopes_are_those_of_least_squares(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from enduring.fitting import slopes

    hours = np.arange(40) / 10
    noise = np.tile([0.5, -0.5], 20)
    samples = [
        {"hours": h, "threads": 12.0, "trainer_mb": 3 * h + n}
        for h, n in zip(hours, noise, strict=True)
    ]
    found = slopes(samples)
    assert found["threads"]["mean"] == 12.0
    assert abs(found["threads"]["slope"]) < 1e-9
    fit, covariance = np.polyfit(hours[10:], 3 * hours[10:] + noise[10:], 1, cov=True)
    assert found["trainer_mb"]["slope"] == pytest.approx(fit[0])
    assert found["trainer_mb"]["standard_error"] == pytest.approx(
        covariance[0, 0] ** 0.5
    )
