"""Chooses the numbers of environments and workers for a machine (`auto`).

More environments make larger, more efficient batches for the network; fewer keep the
engines in the caches. 32 per core was the best value measured on 2 cores without a GPU
with the default preset. With a GPU, batches are nearly free and the engines are the
bottleneck, so it is doubled; that value is a guess and has not been measured.
"""

import contextlib
import math
import os
from pathlib import Path
from typing import NamedTuple

from jaxfactory._util.machine import control_groups


_ENVS_PER_CORE = 32
_ENVS_PER_CORE_WITH_GPU = 64
# With a GPU and at least this many cores, one core is left for acting and learning.
_CORES_TO_SPARE = 8
AUTO_FLAGS = ("--num-envs", "--num-workers")


class Sizes(NamedTuple):
    """The chosen sizes and the reason."""

    num_envs: int
    num_workers: int
    reason: str


def usable_cores() -> int:
    """Return how many cores this process may use at once, at least one.

    As many as its affinity mask has, or fewer if a control group limits its time, as
    `docker run --cpus 2` does.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
    cores = cores or os.cpu_count() or 1
    return max(1, math.ceil(min(cores, time_limit())))


def time_limit(
    proc: Path = control_groups.PROC, root: Path = control_groups.ROOT
) -> float:
    """Return the cores' worth of time that control groups allow; infinity without one.

    Args:
        proc: Has ``self/cgroup``, the process's groups.
        root: Where control groups are mounted, of version 1, 2 or both.
    """
    folders = control_groups.folders("cpu", proc, root)
    return min([math.inf, *map(_limit_of, folders)])


def _limit_of(folder: Path) -> float:
    for names in (("cpu.max",), ("cpu.cfs_quota_us", "cpu.cfs_period_us")):
        with contextlib.suppress(OSError, ValueError, ZeroDivisionError):
            words = [
                word for name in names for word in (folder / name).read_text().split()
            ]
            quota, period = int(words[0]), int(words[1])  # "max" and -1 are no limit.
            if quota > 0:
                return quota / period
    return math.inf


def choose(cores: int, *, gpu: bool) -> Sizes:
    """Choose sizes for a machine.

    Args:
        cores: Cores that this process may use.
        gpu: Whether the network runs on a GPU.
    """
    per_core = _ENVS_PER_CORE_WITH_GPU if gpu else _ENVS_PER_CORE
    workers = cores - 1 if gpu and cores >= _CORES_TO_SPARE else cores
    where = "with a GPU" if gpu else "without a GPU"
    reason = f"{per_core} environments per worker, on {cores} cores {where}"
    return Sizes(per_core * workers, workers, reason)


def wants_auto(args: list[str]) -> bool:
    """Whether a command line contains `auto` sizes."""
    return any(_is_auto(args, index) for index in range(len(args)))


def fill_in(args: list[str], sizes: Sizes) -> list[str]:
    """Return a command line with every `auto` replaced by the chosen size."""
    chosen = {"--num-envs": sizes.num_envs, "--num-workers": sizes.num_workers}
    filled = list(args)
    for index in range(len(args)):
        if _is_auto(args, index):
            flag, equals, _ = args[index].partition("=")
            if equals:
                filled[index] = f"{flag}={chosen[_named(flag)]}"
            else:
                filled[index + 1] = str(chosen[_named(flag)])
    return filled


def _is_auto(args: list[str], index: int) -> bool:
    flag, equals, value = args[index].partition("=")
    if _named(flag) not in AUTO_FLAGS:
        return False
    return value == "auto" if equals else args[index + 1 : index + 2] == ["auto"]


def _named(flag: str) -> str:
    return flag.replace("_", "-")
