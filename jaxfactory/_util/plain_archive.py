"""Safe opening of untrusted zip archives.

Python's zipfile trusts what an archive declares: the number of its members, their sizes
and their positions.
"""

import contextlib
import io
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from jaxfactory._util import plain_files


# Enough for 10,000 members with long names; zipfile needs about 1 kB for each.
_DIRECTORY_BYTES = 2 * 2**20
_ARCHIVE_BYTES = 4 * 2**30
# What zipfile raises for damaged, truncated or forged archives.
DAMAGE = (
    zipfile.BadZipFile, OSError, RuntimeError, EOFError, ValueError, LookupError,
    OverflowError, struct.error, zlib.error,
)  # fmt: skip


class Damaged(Exception):  # noqa: N818 - it is the file that is damaged
    """The archive cannot be read; the text says why."""


class Refused(Exception):  # noqa: N818 - it is the file that is refused
    """The archive needs more resources than is reasonable; the text says which."""


class _Handle(io.FileIO):
    """A file with a limit on each read, which bounds the directory of members."""

    limit: int | None = _DIRECTORY_BYTES

    def read(self, size: int | None = -1, /) -> bytes:
        if self.limit is None:
            return super().read(size) or b""
        if (
            size is None or size < 0
        ):  # The end of the file, which locates the directory.
            size = self.limit
        if size > self.limit:
            raise Refused("it declares too many members")
        return super().read(size) or b""


@contextlib.contextmanager
def opened(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open an archive.

    Its members have distinct names, are not encrypted, and together take no more space
    than the file.

    Raises:
        OSError: If the file cannot be opened.
        Refused: If an archive does not fulfil this.
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
        except DAMAGE as error:
            raise Damaged(str(error)) from error
        handle.limit = None
        members = archive.infolist()
        if any(member.flag_bits & 0x1 for member in members):
            raise Refused("it is encrypted")
        names = {member.filename for member in members}
        total = sum(member.compress_size for member in members)
        if total > size or len(names) < len(members):
            raise Refused("its members overlap")
        yield archive
