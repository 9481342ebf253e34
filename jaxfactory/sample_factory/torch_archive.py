"""Reads the zip archive that ``torch.save`` writes."""

import contextlib
import zipfile
from collections.abc import Iterator
from pathlib import Path

from jaxfactory._util import plain_archive
from jaxfactory._util.plain_archive import DAMAGE, Damaged
from jaxfactory._util.plain_pickle import Refused


class Archive:
    """The members of one archive; `opened` creates it."""

    def __init__(self, archive: zipfile.ZipFile, size: int) -> None:
        members = archive.infolist()
        self.size = size
        self._archive = archive
        self._members = {member.filename: member for member in members}
        # Refusing compression bounds the memory that a small file can use.
        if any(member.compress_type != zipfile.ZIP_STORED for member in members):
            raise Refused("it is compressed, which torch.save does not do")
        if any(member.file_size != member.compress_size for member in members):
            raise Refused("a member of it has two sizes")

    def names(self) -> list[str]:
        """Return the members' names."""
        return list(self._members)

    def read(self, name: str, most: int | None = None) -> bytes:
        """Return a member of at most ``most`` bytes.

        Raises:
            Refused: If there is no such member, or it is longer.
            Damaged: If it cannot be read.
        """
        member = self._members.get(name)
        if member is None:
            raise Refused(f"its member {name:.100} is missing")
        if most is not None and member.file_size > most:
            raise Refused(f"its member {name:.100} is larger than {most} bytes")
        try:
            return self._archive.read(member)
        except DAMAGE as error:
            raise Damaged(str(error)) from error


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Archive]:
    """Open an archive.

    Raises:
        OSError: If the file cannot be opened.
        Refused: If torch.save does not write such archives.
        Damaged: If it cannot be read.
    """
    try:
        with plain_archive.opened(path) as archive:
            yield Archive(archive, path.stat().st_size)
    except plain_archive.Refused as error:
        raise Refused(str(error)) from error
