"""Reads files written by ``torch.save``, without PyTorch and without executing code.

Since version 1.6 PyTorch writes an uncompressed zip archive: ``data.pkl`` describes the
objects, and each storage is a separate member
(https://pytorch.org/docs/stable/notes/serialization.html). Only tensors and plain
containers are read; a file with anything else is refused.
"""

import math
import re
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from jaxfactory._util import plain_files, plain_pickle
from jaxfactory._util.errors import UserError
from jaxfactory.sample_factory import torch_archive


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
# Magic number at the start of files from before PyTorch 1.6.
_OLD_FORMAT = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
_NUMBER_TYPES = re.compile("[biuf][1248]")
_PICKLE_BYTES = 4 * 2**20
# Limit on the total size of all tensors, per byte of the file; some share storages.
_VIEWS = 2
_MOST_AXES = 16


def load(path: Path) -> Any:
    """Return a file's containers, numbers, strings and read-only NumPy arrays.

    Raises:
        UserError: If the file is missing, in PyTorch's old format, damaged, or contains
            anything but data.
    """
    try:
        with plain_files.open_regular(path) as file:
            start = file.read(len(_OLD_FORMAT))
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise UserError(f"{path} cannot be read ({why})") from error
    if start == _OLD_FORMAT:
        raise UserError(
            f"{path} is in the format that PyTorch wrote before version 1.6; load it "
            "with PyTorch and save it again with torch.save"
        )
    if not start.startswith(b"PK"):
        raise UserError(f"{path} was not written by torch.save: not a zip archive")
    try:
        with torch_archive.opened(path) as archive:
            return _Reader(archive).load()
    except plain_pickle.Refused as error:
        raise UserError(f"{path} is refused: {error}") from error
    except (torch_archive.Damaged, OSError) as error:
        raise UserError(
            f"{path} is damaged or cut short ({error!s:.200}); copy or download it "
            "again"
        ) from error


class _Reader:
    """Reads one archive."""

    def __init__(self, archive: torch_archive.Archive) -> None:
        self._archive = archive
        names = archive.names()
        roots = [name for name in names if name.endswith("/data.pkl")]
        if len(roots) != 1:
            raise plain_pickle.Refused("it has no data.pkl, as torch.save writes it")
        self._root = roots[0].removesuffix("data.pkl")
        self._order = "<"
        if f"{self._root}byteorder" in names:
            order = archive.read(f"{self._root}byteorder", 16).strip()
            if order not in (b"little", b"big"):
                raise plain_pickle.Refused(f"its byteorder is {order!r}")
            self._order = "<" if order == b"little" else ">"
        self._storages: dict[str, np.ndarray] = {}
        self._left = _VIEWS * archive.size

    def load(self) -> Any:
        """Return the unpickled contents of the archive."""
        data = self._archive.read(f"{self._root}data.pkl", _PICKLE_BYTES)
        symbols = {**_SYMBOLS, "torch._utils._rebuild_tensor_v2": self._tensor}
        return plain_pickle.loads(data, symbols, self._storage)

    def _storage(self, reference: Any) -> np.ndarray:
        """Return the storage named by ``("storage", type, name, device, count)``."""
        if type(reference) is not tuple or len(reference) != 5:
            raise plain_pickle.Refused("it refers to something that is not a storage")
        word, kind, key, _, count = reference
        dtype = getattr(kind, "meaning", None)
        if word != "storage" or not isinstance(dtype, np.dtype) or type(key) is not str:
            raise plain_pickle.Refused("it refers to something that is not a storage")
        name = f"{self._root}data/{key}"
        if dtype.itemsize > 1:
            dtype = dtype.newbyteorder(self._order)
        if key not in self._storages:
            data = self._archive.read(name)
            if len(data) % dtype.itemsize:
                raise plain_pickle.Refused(f"its member {name:.100} is cut short")
            self._storages[key] = np.frombuffer(data, dtype)
        numbers = self._storages[key]
        if numbers.dtype != dtype:
            raise plain_pickle.Refused(f"its member {name:.100} is of two types")
        if type(count) is not int or len(numbers) != count:
            raise plain_pickle.Refused(f"its member {name:.100} is cut short")
        return numbers

    def _tensor(self, *arguments: Any) -> np.ndarray:
        """Return a tensor, unless the total size of all tensors exceeds the limit."""
        if len(arguments) < 4:
            raise plain_pickle.Refused("a tensor in it has no shape")
        made = _tensor(*arguments[:4])
        self._left -= made.nbytes
        if self._left < 0:
            raise plain_pickle.Refused("its tensors are far more than its numbers")
        return made


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any) -> np.ndarray:
    """Return a tensor as a view of its storage; offset and strides count elements."""
    if not isinstance(storage, np.ndarray) or storage.ndim != 1:
        raise plain_pickle.Refused("a tensor in it has no storage")
    if not all(
        type(sizes) is tuple and len(sizes) <= _MOST_AXES for sizes in (shape, strides)
    ):
        raise plain_pickle.Refused("a tensor in it has an impossible shape")
    numbers = (offset, *shape, *strides)
    if len(shape) != len(strides) or not all(
        type(number) is int and 0 <= number < 2**63 for number in numbers
    ):
        raise plain_pickle.Refused("a tensor in it has an impossible shape")
    count = math.prod(shape)
    last = offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
    # A view with more elements than its storage would repeat them.
    if count and (count > len(storage) or last >= len(storage)):
        raise plain_pickle.Refused("a tensor in it is larger than its storage")
    if not count:
        return np.empty(shape, storage.dtype)
    size = storage.itemsize
    return np.lib.stride_tricks.as_strided(
        storage[offset:], shape, [size * step for step in strides], writeable=False
    )


class _NumberType:
    """A NumPy dtype as pickles describe it: a type code, then a byte order."""

    def __init__(self, code: str, *ignored: Any) -> None:
        del ignored
        if type(code) is not str or not _NUMBER_TYPES.fullmatch(code):
            raise plain_pickle.Refused(f"it holds a NumPy {code!r:.20}, not a number")
        self.code, self.order = code, "<"

    def build(self, state: tuple[Any, ...]) -> None:
        """Set the byte order from the state ``(version, order, ...)``."""
        self.order = ">" if state[1] == ">" else "<"


def _number(kind: Any, data: Any) -> Any:
    """Return a NumPy scalar as a Python number."""
    if not isinstance(kind, _NumberType) or type(data) is not bytes or len(data) > 8:
        raise plain_pickle.Refused("it holds a damaged NumPy number")
    return np.frombuffer(data, kind.order + kind.code)[0].item()


def _size(sizes: Any = ()) -> tuple[Any, ...]:
    """Return a shape."""
    if type(sizes) not in (tuple, list) or len(sizes) > _MOST_AXES:
        raise plain_pickle.Refused("it holds an impossible shape")
    return tuple(sizes)


def _as_bytes(text: str, encoding: str) -> bytes:
    """Return bytes that pickle protocol 2 stores as text."""
    if encoding != "latin1" or type(text) is not str:
        raise plain_pickle.Refused(f"it holds text in {encoding!r:.20}")
    return text.encode("latin1")


def _mapping() -> dict[Any, Any]:
    """Return an empty dictionary, which the pickle then fills."""
    return {}


_SYMBOLS: dict[str, Any] = {
    "collections.OrderedDict": _mapping,
    "torch._utils._rebuild_parameter": lambda tensor, *ignored: tensor,
    "torch.Size": _size,
    # Some numbers in a checkpoint are NumPy scalars.
    "numpy.core.multiarray.scalar": _number,
    "numpy._core.multiarray.scalar": _number,
    "numpy.dtype": _NumberType,
    "_codecs.encode": _as_bytes,
    **{f"torch.{name}": np.dtype(kind) for name, kind in _STORAGES.items()},
}
