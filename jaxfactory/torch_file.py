"""Reading what ``torch.save`` wrote, without PyTorch and without running it.

Since version 1.6 PyTorch writes an uncompressed zip archive: ``data.pkl`` describes
the objects, and each tensor's numbers are a member of their own
(https://pytorch.org/docs/stable/notes/serialization.html). Only tensors and plain
containers are read; a file that asks for anything else is refused.
"""

import re
import zipfile
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from jaxfactory import plain_pickle
from jaxfactory.errors import UserError


_STORAGES = {
    "FloatStorage": np.float32,
    "DoubleStorage": np.float64,
    "HalfStorage": np.float16,
    "BFloat16Storage": ml_dtypes.bfloat16,
    "LongStorage": np.int64,
    "IntStorage": np.int32,
    "ShortStorage": np.int16,
    "CharStorage": np.int8,
    "ByteStorage": np.uint8,
    "BoolStorage": np.bool_,
}
# What files began with before PyTorch 1.6: a pickle of a certain number.
_OLD_FORMAT = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
_NUMBER_TYPES = re.compile("[biuf][1248]")


def load(path: Path) -> Any:
    """Return what a file holds: containers, numbers, strings, read-only NumPy arrays.

    Raises:
        UserError: If there is no such file, it is of PyTorch's old format, damaged, or
            asks for anything that is not data.
    """
    try:
        with path.open("rb") as file:
            start = file.read(len(_OLD_FORMAT))
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror})") from error
    if start == _OLD_FORMAT:
        raise UserError(
            f"{path} is in the format that PyTorch wrote before version 1.6; load it "
            "with PyTorch and save it again with torch.save"
        )
    if not start.startswith(b"PK"):
        raise UserError(f"{path} was not written by torch.save: it is no zip archive")
    try:
        with zipfile.ZipFile(path) as archive:
            return _Reader(archive, path.stat().st_size).load()
    except plain_pickle.Refused as error:
        raise UserError(f"{path} is refused: {error}") from error
    except (zipfile.BadZipFile, OSError, RuntimeError, EOFError) as error:
        raise UserError(
            f"{path} is damaged or cut short ({error}); copy or download it again"
        ) from error


class _Reader:
    """Reads one archive."""

    def __init__(self, archive: zipfile.ZipFile, size: int) -> None:
        members = archive.infolist()
        # Nothing is compressed or there twice, so that a small file stays small.
        if any(member.compress_type != zipfile.ZIP_STORED for member in members):
            raise plain_pickle.Refused("it is compressed, which torch.save does not do")
        if sum(member.file_size for member in members) > size:
            raise plain_pickle.Refused("its members overlap")
        self._archive = archive
        self._names = {member.filename for member in members}
        roots = [name for name in self._names if name.endswith("/data.pkl")]
        if len(roots) != 1:
            raise plain_pickle.Refused("it has no data.pkl, as torch.save writes it")
        self._root = roots[0].removesuffix("data.pkl")
        big = f"{self._root}byteorder"
        self._order = "<"
        if big in self._names and archive.read(big).strip() == b"big":
            self._order = ">"
        self._storages: dict[str, np.ndarray] = {}

    def load(self) -> Any:
        """Return what the archive holds."""
        data = self._archive.read(f"{self._root}data.pkl")
        return plain_pickle.loads(data, _SYMBOLS, self._storage)

    def _storage(self, reference: Any) -> np.ndarray:
        """Return the numbers that ``("storage", type, name, device, count)`` names."""
        word, kind, key, _, count = reference
        if word != "storage" or not isinstance(kind.meaning, np.dtype):
            raise plain_pickle.Refused("it refers to something that is not a storage")
        if key not in self._storages:
            name = f"{self._root}data/{key}"
            if name not in self._names:
                raise plain_pickle.Refused(f"its member {name} is missing")
            dtype = kind.meaning
            if dtype.itemsize > 1:
                dtype = dtype.newbyteorder(self._order)
            numbers = np.frombuffer(self._archive.read(name), dtype)
            if len(numbers) != count:
                raise plain_pickle.Refused(f"its member {name} is cut short")
            self._storages[key] = numbers
        return self._storages[key]


def _tensor(
    storage: Any, offset: Any, shape: Any, strides: Any, *ignored: Any
) -> np.ndarray:
    """Return a tensor as a view of its storage; offset and strides count elements."""
    del ignored  # Whether it needs gradients, and hooks.
    if not isinstance(storage, np.ndarray) or storage.ndim != 1:
        raise plain_pickle.Refused("a tensor in it has no storage")
    numbers = (offset, *shape, *strides)
    if len(shape) != len(strides) or not all(
        type(number) is int and number >= 0 for number in numbers
    ):
        raise plain_pickle.Refused("a tensor in it has an impossible shape")
    count = int(np.prod([1, *shape], dtype=object))
    last = offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
    # More elements than the storage would be copies of the same ones.
    if count and (count > len(storage) or last >= len(storage)):
        raise plain_pickle.Refused("a tensor in it is larger than its storage")
    if not count:
        return np.empty(shape, storage.dtype)
    size = storage.itemsize
    return np.lib.stride_tricks.as_strided(
        storage[offset:], shape, [size * step for step in strides], writeable=False
    )


class _NumberType:
    """A NumPy type, as pickles describe it: a code, and later the order of bytes."""

    def __init__(self, code: str, *ignored: Any) -> None:
        del ignored
        if not _NUMBER_TYPES.fullmatch(code):
            raise plain_pickle.Refused(f"it holds a NumPy {code!r}, not a number")
        self.code, self.order = code, "<"

    def build(self, state: tuple[Any, ...]) -> None:
        """Take ``(version, order, ...)``."""
        self.order = ">" if state[1] == ">" else "<"


def _number(kind: Any, data: bytes) -> Any:
    """Return a NumPy scalar as Python's number."""
    return np.frombuffer(data, kind.order + kind.code)[0].item()


def _as_bytes(text: str, encoding: str) -> bytes:
    """Return the bytes that Python 2's pickles write as text."""
    if encoding != "latin1":
        raise plain_pickle.Refused(f"it holds text in {encoding}")
    return text.encode("latin1")


def _mapping() -> dict[Any, Any]:
    """Return an empty dictionary; the pickle then sets its items."""
    return {}


_SYMBOLS: dict[str, Any] = {
    "collections.OrderedDict": _mapping,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": lambda tensor, *ignored: tensor,
    "torch.Size": tuple,
    # Some of the numbers in a checkpoint are NumPy's.
    "numpy.core.multiarray.scalar": _number,
    "numpy._core.multiarray.scalar": _number,
    "numpy.dtype": _NumberType,
    "_codecs.encode": _as_bytes,
    **{f"torch.{name}": np.dtype(kind) for name, kind in _STORAGES.items()},
}
