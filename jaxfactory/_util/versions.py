"""What a run's numbers depend on besides its settings: versions, processor, kernels.

Recorded in a run directory's versions.json for every session of training.
"""

import contextlib
import importlib.metadata
import json
import platform
from pathlib import Path

from jaxfactory._util import plain_json
from jaxfactory._util.plain_files import printable


FILE = "versions.json"
_PACKAGES = (
    "jax", "jaxlib", "flax", "optax", "numpy", "vizdoom", "gymnasium", "jaxfactory",
)  # fmt: skip
# A pulled run is untrusted.
_MOST_BYTES = 1_000_000


def current(kernels: str) -> dict[str, str]:
    """Return name and version of everything that matters.

    Args:
        kernels: The processor's instructions that the network's kernels use.
    """
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return {**found, "cpu": cpu_model(), "kernels": kernels}


def cpu_model() -> str:
    """Return the processor's name."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.machine()


def recorded(run_dir: Path) -> list[dict[str, str | int]]:
    """Return the record of each session, oldest first; [] if there is none."""
    try:
        rows = plain_json.read(run_dir / FILE, limit=_MOST_BYTES)
    except (OSError, ValueError):
        return []
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        return []
    return rows


def with_session(run_dir: Path, frames: int, versions: dict[str, str]) -> str:
    """Return the text of versions.json with another session.

    A session with the versions of the one before it is not listed again.

    Args:
        run_dir: The run's directory.
        frames: Frames at which the session begins.
        versions: The result of `current`.
    """
    # Like metrics.jsonl, it forgets what is trained again.
    rows = [row for row in recorded(run_dir) if _frames(row) < frames]
    if not rows or differences(rows[-1], versions):
        rows.append({"frames": frames, **versions})
    return json.dumps(rows, indent=2) + "\n"


def _frames(row: dict[str, str | int]) -> int:
    frames = row.get("frames")
    return frames if isinstance(frames, int) else 0


def differences(there: dict[str, str | int], here: dict[str, str]) -> list[str]:
    """Return what differs, as in ``"jax 0.10.2 (here 0.11.0)"``."""
    return [
        f"{name} {printable(str(there[name]))[:100]} (here {version})"
        for name, version in here.items()
        if name in there and str(there[name]) != version
    ]
