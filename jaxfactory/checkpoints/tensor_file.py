"""Reading safetensors files, which may come from untrusted sources.

The format is the header's length, a JSON header with the position of each array, and
the data (https://github.com/huggingface/safetensors). The safetensors library reads it
too; this reader first limits the header's size and the arrays' number and types.
"""

import math
from pathlib import Path
from typing import Any

import numpy as np

from jaxfactory._util import plain_files, plain_json


_DTYPES = {
    "F64": np.float64, "F32": np.float32, "F16": np.float16, "I64": np.int64,
    "I32": np.int32, "I16": np.int16, "I8": np.int8, "U64": np.uint64,
    "U32": np.uint32, "U16": np.uint16, "U8": np.uint8, "BOOL": np.bool_,
}  # fmt: skip
_FILE_BYTES = 4 * 2**30
_HEADER_BYTES = 4 * 2**20
_MOST_ARRAYS = 10_000
_MOST_AXES = 16
# Bytes of the header's length, an unsigned little-endian integer.
_PREFIX = 8


def load(path: Path) -> dict[str, np.ndarray]:
    """Return a file's arrays by name, read-only.

    Raises:
        OSError: If it cannot be read.
        ValueError: If it is not a safetensors file, or damaged; the text has the
            reason.
    """
    data = plain_files.read_bytes(path, _FILE_BYTES)
    length = int.from_bytes(data[:_PREFIX], "little")
    start = _PREFIX + length
    if len(data) < _PREFIX or start > len(data):
        raise ValueError("it is not a safetensors file, or it is cut short")
    if length > _HEADER_BYTES:
        raise ValueError(f"its header has {length:,} bytes")
    header = plain_json.loads(data[_PREFIX:start])
    if not isinstance(header, dict) or len(header) > _MOST_ARRAYS:
        raise ValueError("its header is not a list of arrays")
    # Free-form notes of the file's author.
    header.pop("__metadata__", None)
    numbers = memoryview(data)[start:]
    entries = {name: _entry(name, entry) for name, entry in header.items()}
    end = 0
    for name, (_, _, begin, after) in sorted(entries.items(), key=lambda e: e[1][2:]):
        # No overlaps: a small file could otherwise contain one array many times.
        if begin != end or after > len(numbers):
            raise ValueError(f"its {name!r:.60} has invalid offsets")
        end = after
    if end != len(numbers):
        raise ValueError("it contains data that belongs to no array")
    return {
        name: np.frombuffer(numbers[begin:after], dtype).reshape(shape)
        for name, (dtype, shape, begin, after) in entries.items()
    }


def _entry(name: str, entry: Any) -> tuple[np.dtype, list[int], int, int]:
    """Return (dtype, shape, first byte, byte after the last) of an array."""
    wrong = ValueError(f"its {name!r:.60} is described as {entry!r:.80}")
    if not isinstance(entry, dict):
        raise wrong
    kind, shape = entry.get("dtype"), entry.get("shape")
    offsets = entry.get("data_offsets")
    if not isinstance(kind, str) or kind not in _DTYPES:
        raise wrong
    if not _are_sizes(shape) or len(shape) > _MOST_AXES:
        raise wrong
    if not _are_sizes(offsets) or len(offsets) != 2:
        raise wrong
    dtype = np.dtype(_DTYPES[kind])
    if math.prod(shape) * dtype.itemsize != offsets[1] - offsets[0]:
        raise wrong
    return dtype, shape, offsets[0], offsets[1]


def _are_sizes(value: Any) -> bool:
    return isinstance(value, list) and all(
        type(size) is int and 0 <= size < 2**48 for size in value
    )
