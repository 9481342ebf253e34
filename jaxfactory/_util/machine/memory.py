"""How much memory is free for this process, and how much of /dev/shm."""

import contextlib
import math
import os
from pathlib import Path

from jaxfactory._util.machine import control_groups


# Limit, use, and what the kernel takes back first in memory.stat; versions 2 and 1.
_FILES = (
    ("memory.max", "memory.current", "inactive_file"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)


def free_memory(
    proc: Path = control_groups.PROC, root: Path = control_groups.ROOT
) -> float:
    """Return the bytes that this process can take; infinity if that is not known.

    What the machine has, swap included, or less if a control group limits it, as
    `docker run --memory 2g` does.

    Args:
        proc: Has ``meminfo`` and ``self/cgroup``.
        root: Where control groups are mounted.
    """
    free = math.inf
    with contextlib.suppress(OSError, ValueError, KeyError):
        rows = (proc / "meminfo").read_text().splitlines()
        found = {row.partition(":")[0]: row.split()[1] for row in rows}
        free = 1024.0 * (int(found["MemAvailable"]) + int(found.get("SwapFree", 0)))
    rooms = (_room(folder) for folder in control_groups.folders("memory", proc, root))
    return min([free, *rooms])


def _room(folder: Path) -> float:
    for limit, use, reclaimed in _FILES:
        with contextlib.suppress(OSError, ValueError):  # "max" is no number.
            room = int((folder / limit).read_text()) - int((folder / use).read_text())
            rows = (folder / "memory.stat").read_text().splitlines()
            found = dict(row.split() for row in rows)
            return float(max(0, room + int(found.get(reclaimed, 0))))
    return math.inf


def free_shared(path: Path = Path("/dev/shm")) -> float:
    """Return the free bytes of a file system in memory; infinity if there is none."""
    try:
        found = os.statvfs(path)
    except (OSError, AttributeError):
        return math.inf
    return float(found.f_bavail * found.f_frsize)
