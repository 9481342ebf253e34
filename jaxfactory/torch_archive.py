"""The zip archive that ``torch.save`` writes, opened so that it can do no harm.

Python's zipfile takes what an archive says of itself at its word: how many members
there are, how long they are, and where they lie.
"""

import contextlib
import io
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path

from jaxfactory import plain_files
from jaxfactory.plain_pickle import Refused


# Of 10,000 members with long names; of each, zipfile makes an object of about 1 kB.
_DIRECTORY_BYTES = 2 * 2**20
_ARCHIVE_BYTES = 4 * 2**30
# What zipfile raises on archives that are damaged, cut short or invented.
_DAMAGE = (
    zipfile.BadZipFile, OSError, RuntimeError, EOFError, ValueError, LookupError,
    OverflowError, struct.error,
)  # fmt: skip


class Damaged(Exception):  # noqa: N818 - it is the file that is damaged
    """The archive cannot be read; the text says why."""


class _Handle(io.FileIO):
    """A file of which no more is read at once than a directory of members takes."""

    limit: int | None = _DIRECTORY_BYTES

    def read(self, size: int | None = -1, /) -> bytes:
        if self.limit is None:
            return super().read(size) or b""
        if size is None or size < 0:  # The file's end, where the directory is named.
            size = self.limit
        if size > self.limit:
            raise Refused("it says that it has too many members")
        return super().read(size) or b""


class Archive:
    """The members of one file. `opened` makes it."""

    def __init__(self, archive: zipfile.ZipFile, size: int) -> None:
        members = archive.infolist()
        self.size = size
        self._archive = archive
        self._members = {member.filename: member for member in members}
        # Nothing is compressed or there twice, so that a small file stays small.
        if any(member.compress_type != zipfile.ZIP_STORED for member in members):
            raise Refused("it is compressed, which torch.save does not do")
        if any(member.flag_bits & 0x1 for member in members):
            raise Refused("it is encrypted, which torch.save does not do")
        if any(member.file_size != member.compress_size for member in members):
            raise Refused("a member of it has two sizes")
        total = sum(member.file_size for member in members)
        if total > size or len(self._members) < len(members):
            raise Refused("its members overlap")

    def names(self) -> list[str]:
        """Return the members' names."""
        return list(self._members)

    def read(self, name: str, most: int | None = None) -> bytes:
        """Return a member, at most so many bytes.

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
        except _DAMAGE as error:
            raise Damaged(str(error)) from error


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Archive]:
    """Open an archive.

    Raises:
        OSError: If the file cannot be opened.
        Refused: If it is no archive that torch.save writes.
        Damaged: If it cannot be read.
    """
    with contextlib.ExitStack() as stack:
        try:
            file = stack.enter_context(plain_files.open_regular(path))
        except ValueError as error:
            raise Damaged(str(error)) from error
        size = file.seek(0, io.SEEK_END)
        if size > _ARCHIVE_BYTES:
            raise Refused(f"it is larger than {_ARCHIVE_BYTES // 2**30} GiB")
        handle = stack.enter_context(_Handle(file.fileno(), closefd=False))
        try:
            archive = stack.enter_context(zipfile.ZipFile(handle))
        except _DAMAGE as error:
            raise Damaged(str(error)) from error
        handle.limit = None
        yield Archive(archive, size)
