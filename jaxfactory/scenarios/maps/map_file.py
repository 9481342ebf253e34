"""A map file as a run's files describe it: its name, its origin and its hash."""

import re
from typing import Any, NamedTuple

from jaxfactory.scenarios.maps import wad_files


# Where a map comes from that no package brings. Never its folder: what `push` publishes
# tells nothing of the user's machine.
CHOSEN = "--map"
LOCAL = "local folder"
_HEX_SHOWN = 12
_LONGEST_NAME = 255
_SHA256 = re.compile("([0-9a-f]{64})?")


class MapFile(NamedTuple):
    """A map file as it is written down.

    Attributes:
        file: Its name, without a folder.
        origin: The package that brings it, `CHOSEN` or `LOCAL`.
        sha256: Of its bytes, in hexadecimal; "" where only its name is known.
    """

    file: str
    origin: str
    sha256: str

    @classmethod
    def from_dict(cls, row: Any) -> "MapFile":
        """Return what `as_dict` made, after a look: it may be a stranger's.

        Raises:
            ValueError: If it is something else.
        """
        if not isinstance(row, dict):
            raise ValueError(f"{row!r:.60} is no map")
        found = cls(row.get("file"), row.get("from"), row.get("sha256"))
        name = found.file
        if not (isinstance(name, str) and name and len(name) <= _LONGEST_NAME):
            raise ValueError(f"{name!r:.60} is no file's name")
        if not name.isprintable() or "/" in name:
            raise ValueError(f"{name!r:.60} is no file's name")
        if found.origin not in (CHOSEN, LOCAL, *wad_files.PACKAGES):
            raise ValueError(f"{found.origin!r:.60} is nowhere that a map comes from")
        if not (isinstance(found.sha256, str) and _SHA256.fullmatch(found.sha256)):
            raise ValueError(f"{found.sha256!r:.80} is no SHA-256")
        return found

    def as_dict(self) -> dict[str, str]:
        """Return what files of a run hold of it."""
        return {"file": self.file, "from": self.origin, "sha256": self.sha256}

    @property
    def short_hash(self) -> str:
        """The hash's first digits, enough to tell two files apart."""
        return self.sha256[:_HEX_SHOWN]

    def is_same(self, other: "MapFile") -> bool:
        """Whether both are one file, by its bytes where these are known of both."""
        if self.sha256 and other.sha256:
            return self.sha256 == other.sha256
        return wad_files.first_name(self.file) == wad_files.first_name(other.file)
