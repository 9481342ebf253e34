"""How many cores a process may use: its mask, and the limits of control groups."""

import math
import os

import pytest

from jaxfactory.config import sizing


def groups(tmp_path, line: str, files: dict[str, str]) -> float:
    proc, root = tmp_path / "proc", tmp_path / "cgroup"
    (proc / "self").mkdir(parents=True)
    (proc / "self" / "cgroup").write_text(line)
    root.mkdir()
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return sizing.time_limit(proc, root)


V1 = "4:cpu,cpuacct:/docker/ab\n3:cpuset:/\n"


@pytest.mark.parametrize(
    ("line", "files", "limit"),
    [
        ("0::/\n", {"cpu.max": "150000 100000\n"}, 1.5),
        ("0::/\n", {"cpu.max": "max 100000\n"}, math.inf),
        ("0::/a/b\n", {"a/b/cpu.max": "max 100000\n", "a/cpu.max": "2 1"}, 2.0),
        # A container sees its own group as the root, whatever its name outside.
        ("0::/docker/ab\n", {"cpu.max": "300000 100000\n"}, 3.0),
        # Version 2 beside version 1.
        ("0::/a\n", {"unified/a/cpu.max": "100000 50000"}, 2.0),
        (V1, {"cpu/cpu.cfs_quota_us": "50000", "cpu/cpu.cfs_period_us": "100000"}, 0.5),
        (
            V1,
            {
                "cpu,cpuacct/docker/ab/cpu.cfs_quota_us": "400000",
                "cpu,cpuacct/docker/ab/cpu.cfs_period_us": "100000",
            },
            4.0,
        ),
        (
            V1,
            {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"},
            math.inf,
        ),
        ("0::/\n", {"cpu.max": "nonsense"}, math.inf),
        ("0::/../..\n", {"cpu.max": "1 1"}, 1.0),
        ("", {}, math.inf),
    ],
)
def test_limits(tmp_path, line, files, limit):
    assert groups(tmp_path, line, files) == limit


def test_a_system_without_control_groups(tmp_path):
    assert sizing.time_limit(tmp_path / "none", tmp_path / "none") == math.inf


@pytest.mark.parametrize(("limit", "cores"), [(0.3, 1), (1.5, 2), (math.inf, 8)])
def test_the_smaller_of_both(monkeypatch, limit, cores):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(sizing, "time_limit", lambda: limit)
    assert sizing.usable_cores() == cores
