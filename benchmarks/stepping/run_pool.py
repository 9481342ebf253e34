"""Measures jaxfactory's pool, and the engines' share of the cores' time."""

import contextlib
import os
from pathlib import Path
from typing import Any

import numpy as np
from common import machine

from stepping.measuring import (
    NUM_PREPARED,
    POOL_OPTIONS,
    Clock,
    Job,
    Setting,
    UnavailableError,
)


# The contenders that this module measures.
CONTENDERS = ("jaxfactory", "jaxfactory-stock", "jaxfactory-queued")


def settings(cores: int) -> list[Setting]:
    """Return the settings to try on a number of cores."""
    return [
        {"num_envs": per_core * cores, "num_groups": groups}
        for groups, per_core in ((2, 4), (2, 8), (2, 6), (1, 8), (1, 4))
    ]


def run(job: Job) -> dict[str, Any]:
    """Measure the pool, and its engines' share of the cores' time."""
    return _measure(job)


def run_stock(job: Job) -> dict[str, Any]:
    """Measure it with unpatched engines."""
    return _measure(job, engine="stock")


def run_queued(job: Job) -> dict[str, Any]:
    """Measure it with all tics of a step sent at once."""
    return _measure(job, tics="queued")


def _measure(job: Job, **options: Any) -> dict[str, Any]:
    try:
        from jaxfactory.envs.pool import make_pool
    except ImportError as error:
        raise UnavailableError(
            f"jaxfactory's C++ core is not built ({error})"
        ) from error

    with make_pool(job.scenario, **POOL_OPTIONS, **job.setting, **options) as pool:
        groups = range(pool.num_groups)
        size = pool.num_envs // pool.num_groups
        heads = pool.spec.action.heads
        actions = (
            np.random.default_rng(0)
            .integers(0, heads, (NUM_PREPARED, size, len(heads)))
            .astype(np.int32)
        )
        pool.reset()
        clock = Clock(job)
        at = 0
        for _ in clock.windows():
            before = _cpu_times(pool.engine_pids)
            for group in groups:
                pool.send(group, actions[group])
            while clock.running():
                for group in groups:
                    pool.recv(group)
                    at = (at + 1) % NUM_PREPARED
                    pool.send(group, actions[at])
                    clock.steps += size
            # Pending steps are received within the measured time, and count.
            for group in groups:
                pool.recv(group)
                clock.steps += size
        after = _cpu_times(pool.engine_pids)
        return clock.result() | _engine_shares(before, after, clock.seconds)


def _cpu_times(pids: list[int]) -> dict[int, tuple[int, int]]:
    """Return the user and kernel time of processes, in clock ticks."""
    times = {}
    for pid in pids:
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            times[pid] = (int(fields[11]), int(fields[12]))
    return times


def _engine_shares(before: dict, after: dict, seconds: float) -> dict[str, float]:
    """Return the engines' share of the cores' time."""
    available = seconds * len(machine.cores()) * os.sysconf("SC_CLK_TCK")
    both = before.keys() & after.keys()
    user, kernel = (
        sum(after[pid][kind] - before[pid][kind] for pid in both) / available
        for kind in (0, 1)
    )
    return {"engine_user_share": user, "engine_kernel_share": kernel}
