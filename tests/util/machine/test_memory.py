"""How much memory a process may take, of the machine and of its control groups."""

import math
import os

import pytest

from jaxfactory._util.machine import memory


MEMINFO = (
    "MemTotal: 8000 kB\nMemFree: 100 kB\nMemAvailable: 6000 kB\nSwapFree: 1000 kB\n"
)
V1 = "4:memory:/docker/ab\n3:cpuset:/\n"


def free(tmp_path, groups: str, files: dict[str, str], meminfo: str = MEMINFO) -> float:
    proc, root = tmp_path / "proc", tmp_path / "cgroup"
    (proc / "self").mkdir(parents=True)
    (proc / "self" / "cgroup").write_text(groups)
    (proc / "meminfo").write_text(meminfo)
    root.mkdir()
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return memory.free_memory(proc, root)


@pytest.mark.parametrize(
    ("groups", "files", "expected"),
    [
        ("", {}, 7000 * 1024),
        # 3000 - 1000 + 500: what was read from files is given back first.
        (
            "0::/\n",
            {"memory.max": "3000", "memory.current": "1000",
             "memory.stat": "anon 400\ninactive_file 500\n"},
            2500,
        ),
        # The smaller room is that of the group above.
        (
            "0::/a/b\n",
            {"a/b/memory.max": "max", "a/b/memory.current": "5",
             "a/b/memory.stat": "", "a/memory.max": "900", "a/memory.current": "100",
             "a/memory.stat": "inactive_file 0\n"},
            800,
        ),
        (
            V1,
            {"memory/docker/ab/memory.limit_in_bytes": "2000",
             "memory/docker/ab/memory.usage_in_bytes": "2100",
             "memory/docker/ab/memory.stat": "total_inactive_file 50\n"},
            0,
        ),
        (V1, {"memory/memory.limit_in_bytes": "nonsense"}, 7000 * 1024),
    ],
)  # fmt: skip
def test_free_memory(tmp_path, groups, files, expected):
    assert free(tmp_path, groups, files) == expected


def test_a_system_that_does_not_say(tmp_path):
    assert memory.free_memory(tmp_path / "none", tmp_path / "none") == math.inf
    assert free(tmp_path, "", {}, meminfo="MemTotal: 8000 kB\n") == math.inf
    assert memory.free_shared(tmp_path / "none") == math.inf


def test_free_space_is_the_file_systems(tmp_path):
    found = os.statvfs(tmp_path)
    assert memory.free_shared(tmp_path) == pytest.approx(
        found.f_bavail * found.f_frsize, rel=0.1
    )
