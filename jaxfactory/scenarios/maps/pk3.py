"""Reads the contents of a map file: a WAD, or an archive (PK3) of WADs.

The file may be hostile. The engine trusts a WAD file's directory, so this module
refuses one whose lumps are outside of the file, in an archive too.
"""

import io
import itertools
import os
import struct
import zipfile
from pathlib import Path
from typing import BinaryIO, NamedTuple

from jaxfactory._util import plain_archive, plain_files, plain_json
from jaxfactory._util.errors import UserError


# The largest collections of maps in use have some tens of thousands.
_MAX_LUMPS = 1 << 20
# Limits of the unpacked size: of one map file in an archive, and of all members.
_MAX_MEMBER = 256 << 20
_MAX_UNPACKED = 1 << 30
_MAGIC = (b"IWAD", b"PWAD")
_PACKINGS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


class Content(NamedTuple):
    """The contents of a map file; names are upper case.

    Attributes:
        lumps: The names of a WAD's lumps; empty for an archive.
        maps: The names of its maps.
        archived: Whether the file is an archive.
    """

    lumps: list[str]
    maps: list[str]
    archived: bool


def read(path: Path) -> Content:
    """Return the contents of a map file.

    Like the engine, this decides by the file's first bytes, not by its name.

    Raises:
        UserError: If it is neither a WAD file nor an archive (PK3), or is damaged.
    """
    try:
        with plain_files.open_regular(path) as file:
            if file.read(2) != b"PK":
                file.seek(0)
                lumps = _lumps(file)
                return Content(lumps, _maps(lumps), archived=False)
    except _NoWad:
        raise UserError(f"{path} is not a map file (WAD), or it is cut short") from None
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path} cannot be read ({plain_json.reason(error)})"
        ) from error
    try:
        with plain_archive.opened(path) as archive:
            return Content([], _archived(archive), archived=True)
    except plain_archive.Refused as error:
        raise UserError(f"{path} is refused: {error}") from error
    except (plain_archive.Damaged, *plain_archive.DAMAGE) as error:
        raise UserError(
            f"{path} is not a map archive (PK3), or it is cut short"
        ) from error


class _NoWad(Exception):  # noqa: N818 - the file is wrong
    """The file is not a WAD file, or is truncated."""


def _archived(archive: zipfile.ZipFile) -> list[str]:
    """Return the maps of an archive, which are stored as ``maps/NAME.wad``.

    The engine loads WAD files at the top level of an archive as if they were named on
    its command line.

    Raises:
        Refused: If it would unpack to too much, or contains a damaged map.
    """
    members = archive.infolist()
    if sum(member.file_size for member in members) > _MAX_UNPACKED:
        raise plain_archive.Refused(
            f"it would unpack to more than {_MAX_UNPACKED >> 20} MiB"
        )
    if any(member.compress_type not in _PACKINGS for member in members):
        raise plain_archive.Refused(
            "its compression method is not zip's usual one (deflate); pack it again"
        )
    maps = []
    seen = set()
    for member in members:
        # (Python's name ends at a zero byte; the engine may read beyond it.)
        name = member.orig_filename.replace("\\", "/").lower()
        if "\0" in name or name in seen:
            raise plain_archive.Refused(
                f"its member {name[:80]!r} appears twice, or is not a valid file name"
            )
        seen.add(name)
        if not name.endswith(".wad"):
            continue
        if member.file_size > _MAX_MEMBER:
            raise plain_archive.Refused(
                f"{name[:80]!r} in it has more than {_MAX_MEMBER >> 20} MiB"
            )
        try:
            with archive.open(member) as file:
                lumps = _lumps(file)
        except _NoWad:
            raise plain_archive.Refused(
                f"{name[:80]!r} in it is not a map file (WAD), or it is cut short"
            ) from None
        if name.startswith("maps/"):
            maps.append(Path(name).stem.upper())
        elif "/" not in name:
            maps += _maps(lumps)
    return maps


def _maps(lumps: list[str]) -> list[str]:
    """Return the lumps that are maps: a map's parts follow its name."""
    return [a for a, b in itertools.pairwise(lumps) if b in ("THINGS", "TEXTMAP")]


def _lumps(file: BinaryIO | io.BufferedIOBase) -> list[str]:
    """Return the names in a WAD file's directory (https://doomwiki.org/wiki/WAD).

    Raises:
        _NoWad: If it is not a WAD file, or a lump is incomplete.
    """
    header = file.read(12)
    magic, count, start = struct.unpack("<4sii", header.ljust(12, b"\0"))
    if magic not in _MAGIC or len(header) < 12 or not 0 <= count <= _MAX_LUMPS:
        raise _NoWad
    if start < 0:
        raise _NoWad
    # Seeking in an archive unpacks everything before; this order does so once.
    file.seek(start)
    directory = file.read(16 * count)
    size = file.seek(0, os.SEEK_END)
    if len(directory) < 16 * count or start > size:
        raise _NoWad
    entries = list(struct.iter_unpack("<ii8s", directory))
    # (An empty lump, such as a map's name, may have any offset.)
    if any(
        length < 0 or (length and not 0 <= at <= size - length)
        for at, length, _ in entries
    ):
        raise _NoWad
    return [name.split(b"\0")[0].decode("latin-1").upper() for *_, name in entries]
