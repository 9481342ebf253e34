"""Describes the machine of a measurement: CPU, GPU, versions, commit, date."""

import contextlib
import datetime
import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

from jaxfactory._util.versions import cpu_model


PACKAGES = (
    "jaxfactory", "jax", "jaxlib", "torch", "vizdoom", "numpy", "envpool",
    "gymnasium", "opencv-python-headless",
)  # fmt: skip
ROOT = Path(__file__).parents[2]


def describe() -> dict[str, Any]:
    """Return a JSON-serializable description of this machine."""
    return {
        "cpu": cpu_model(),
        "cores": len(cores()),
        "gpu": gpu(),
        "memory_gib": round(_memory_bytes() / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "packages": versions(),
        "commit": commit(),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "load_average_before": os.getloadavg()[0],
    }


def cores() -> list[int]:
    """Return the cores that this process may run on."""
    return sorted(os.sched_getaffinity(0))


def gpu() -> str | None:
    """Return the names of the graphics processors, or None if there is none."""
    command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return ", ".join(done.stdout.split("\n")).strip(", ") or None
    return None


def versions() -> dict[str, str]:
    """Return the versions of the compared packages that are installed."""
    found = {}
    for name in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def commit() -> str:
    """Return the commit, with "+changes" if tracked files differ from it.

    Outside of a checkout it is the value of JAXFACTORY_COMMIT, or "unknown".
    """
    head = _git("rev-parse", "--short=12", "HEAD")
    if not head:
        return os.environ.get("JAXFACTORY_COMMIT", "unknown")
    changed = _git("status", "--porcelain", "--untracked-files=no")
    return head + "+changes" * bool(changed)


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(ROOT), *arguments],
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.strip()


def _memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
