"""How a run's files describe a map file: name, origin and hash."""

import re
from typing import Any, NamedTuple

from jaxfactory.scenarios.maps import wad_files


# Origins of maps that no package contains. The folder is not recorded: `push` must not
# publish paths of the user's machine.
CHOSEN = "--map"
LOCAL = "local folder"
_HEX_SHOWN = 12
_LONGEST_NAME = 255
_SHA256 = re.compile("([0-9a-f]{64})?")


class MapFile(NamedTuple):
    """The record of a map file.

    Attributes:
        file: Its name, without the folder.
        origin: The package that contains it, `CHOSEN` or `LOCAL`.
        sha256: Hexadecimal hash of its content; "" if only the name is known.
    """

    file: str
    origin: str
    sha256: str

    @classmethod
    def from_dict(cls, row: Any) -> "MapFile":
        """Rebuild a record from the result of `as_dict`; it may be untrusted.

        Raises:
            ValueError: If it is not a valid record.
        """
        if not isinstance(row, dict):
            raise ValueError(f"{row!r:.60} is not a map record")
        found = cls(row.get("file"), row.get("from"), row.get("sha256"))
        name = found.file
        if not (isinstance(name, str) and name and len(name) <= _LONGEST_NAME):
            raise ValueError(f"{name!r:.60} is no file's name")
        if not name.isprintable() or "/" in name:
            raise ValueError(f"{name!r:.60} is no file's name")
        if found.origin not in (CHOSEN, LOCAL, *wad_files.PACKAGES):
            raise ValueError(f"{found.origin!r:.60} is not a known origin of maps")
        if not (isinstance(found.sha256, str) and _SHA256.fullmatch(found.sha256)):
            raise ValueError(f"{found.sha256!r:.80} is not a SHA-256 hash")
        return found

    def as_dict(self) -> dict[str, str]:
        """Return the record as it is stored in a run's files."""
        return {"file": self.file, "from": self.origin, "sha256": self.sha256}

    @property
    def short_hash(self) -> str:
        """The hash's first digits, enough to tell two files apart."""
        return self.sha256[:_HEX_SHOWN]

    def is_same(self, other: "MapFile") -> bool:
        """Whether both are the same file: by hash if both are known, else by name."""
        if self.sha256 and other.sha256:
            return self.sha256 == other.sha256
        return wad_files.first_name(self.file) == wad_files.first_name(other.file)
