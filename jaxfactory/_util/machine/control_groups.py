"""The control groups that limit this process, as a container's do."""

import contextlib
from collections.abc import Iterator
from pathlib import Path


PROC, ROOT = Path("/proc"), Path("/sys/fs/cgroup")


def folders(kind: str, proc: Path = PROC, root: Path = ROOT) -> Iterator[Path]:
    """Yield the folders of this process's groups and of all groups above them.

    Args:
        kind: What is limited: ``"cpu"`` or ``"memory"``.
        proc: Has ``self/cgroup``, the process's groups.
        root: Where control groups are mounted, of version 1, 2 or both.
    """
    with contextlib.suppress(OSError, ValueError):
        for line in (proc / "self" / "cgroup").read_text().splitlines():
            _, kinds, group = line.split(":", 2)
            if kinds and kind not in kinds.split(","):
                continue
            # In a container, the group may be mounted as the root.
            places = [
                root / (kinds or "."),
                root / kind if kinds else root / "unified",
            ]
            for place in places:
                for folder in (place / group.strip("/"), place):
                    # A limit of a group above holds too.
                    while folder != root.parent and folder != folder.parent:
                        yield folder
                        folder = folder.parent
