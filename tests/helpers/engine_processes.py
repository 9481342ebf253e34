"""What engines are and leave on this machine: processes, names, locks and ports."""

import contextlib
import os
import time
from pathlib import Path

from jaxfactory.envs.doom import engine_config


def gone(pid: int) -> bool:
    """Whether no such process runs any more; a zombie counts as one that does."""
    return not Path(f"/proc/{pid}").exists()


def wait_until(condition, seconds: float = 10.0) -> bool:
    limit = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > limit:
            return False
        time.sleep(0.02)
    return True


def shared_names() -> set[str]:
    return {name for name in os.listdir("/dev/shm") if name.startswith("ViZDoom")}


def lock_holders() -> dict[int, int]:
    """The process that holds a lock on a file, by the file's inode."""
    rows = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
    return {int(row[5].split(":")[2]): int(row[4]) for row in rows if "->" not in row}


def names_of(pid: int) -> set[str]:
    """What a process uses or left: it locks its queues as long as it lives."""
    held, free = names_by_lock(pid)
    limit = time.monotonic() + 2.0
    # Other tests' processes start engines meanwhile, whose names nobody holds for a
    # moment; what was left stays.
    while free and not held and time.monotonic() < limit:
        time.sleep(0.05)
        held, now = names_by_lock(pid)
        free &= now
    return held | free


def names_by_lock(pid: int) -> tuple[set[str], set[str]]:
    """The names of engines that a process holds, and those that nobody does."""
    queues = {}
    for name in shared_names():
        if name.startswith("ViZDoomMQDoomjx"):
            with contextlib.suppress(FileNotFoundError):
                queues[name[-10:]] = os.stat(f"/dev/shm/{name}").st_ino
    holders = lock_holders()
    held, free = set(), set()
    for name in shared_names():
        if name[-10:].startswith("jx"):
            holder = holders.get(queues.get(name[-10:], 0))
            if holder in (None, pid):
                (free if holder is None else held).add(name)
    return held, free


def children() -> set[int]:
    found = set()
    for task in Path(f"/proc/{os.getpid()}/task").iterdir():
        with contextlib.suppress(FileNotFoundError):  # The thread has just ended.
            found |= set(map(int, (task / "children").read_text().split()))
    return found


def broken(monkeypatch, change):
    """Let every engine's command line go through `change(executable, arguments)`."""
    line = engine_config._command_line
    monkeypatch.setattr(engine_config, "_command_line", lambda *a: change(*line(*a)))


def udp_ports() -> set[int]:
    """Local UDP ports that are bound."""
    lines = Path("/proc/net/udp").read_text().splitlines()[1:]
    return {int(line.split()[1].partition(":")[2], 16) for line in lines}
