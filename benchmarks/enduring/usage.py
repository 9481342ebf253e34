"""What processes take of the machine, and engines' names in /dev/shm."""

import contextlib
import os
from collections.abc import Collection
from pathlib import Path


_PAGE = os.sysconf("SC_PAGE_SIZE")


def usage(pid: int, others: Collection[int]) -> dict[str, float]:
    """Return memory in MB, file descriptors, threads and names in /dev/shm.

    Args:
        pid: The process that trains or steps.
        others: Its engines, and the processes that start them.

    Returns:
        By name; empty if the process has ended.
    """
    with contextlib.suppress(OSError):
        return {
            "trainer_mb": _resident(pid),
            "engines_mb": sum(map(_resident, others)),
            "engines": len(others),
            "descriptors": len(os.listdir(f"/proc/{pid}/fd")),
            "threads": len(os.listdir(f"/proc/{pid}/task")),
            "shm_names": len(shm_names()),
        }
    return {}


def shm_names() -> set[str]:
    """Return the engines' names in /dev/shm."""
    return {path.name for path in Path("/dev/shm").glob("ViZDoom*")}


def unheld_names() -> set[str]:
    """Return the names of jaxfactory's engines whose lock no process holds."""
    # PID, then the file as major:minor:inode.
    locks = Path("/proc/locks").read_text().split()
    held = {word.rpartition(":")[2] for word in locks if word.count(":") == 2}
    found = set()
    for name in shm_names():
        if name.startswith("ViZDoomMQDoomjx"):
            with contextlib.suppress(OSError):
                if str(Path("/dev/shm", name).stat().st_ino) not in held:
                    found.add(name)
    return found


def _resident(pid: int) -> float:
    with contextlib.suppress(OSError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE / 1e6
    return 0.0
