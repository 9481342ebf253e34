"""Writes files as torch.save does, without PyTorch."""

import itertools
import pickle
import zipfile

import numpy as np


class Storage:
    """Stands for a member of the archive, as PyTorch's storages do when pickled."""

    def __init__(self, kind, key, array):
        self.kind, self.key, self.array = kind, key, array


class Kind:
    """Pickled as a global of the given name."""

    def __init__(self, name):
        self.name = name


class Tensor:
    """Pickled as a call of PyTorch's function that puts tensors together."""

    def __init__(self, storage, offset, shape, strides, function="_rebuild_tensor_v2"):
        self.arguments = (storage, offset, shape, strides, False, {})
        self.function = function


class Pickler(pickle._Pickler):
    """Writes those three with the names that PyTorch's have."""

    def persistent_id(self, obj):
        if not isinstance(obj, Storage):
            return None
        count = len(obj.array)
        return ("storage", Kind(f"torch.{obj.kind}"), obj.key, "cuda:0", count)

    def save(self, obj, save_persistent_id=True):
        if isinstance(obj, Kind):
            module, _, name = obj.name.rpartition(".")
            self.write(pickle.GLOBAL + f"{module}\n{name}\n".encode())
        elif isinstance(obj, Tensor):
            self.save(Kind(f"torch._utils.{obj.function}"))
            self.save(obj.arguments)
            self.write(pickle.REDUCE)
        else:
            super().save(obj, save_persistent_id)


def write(path, value, *, compression=zipfile.ZIP_STORED, order=None, extra=None):
    """Write an archive as torch.save does."""
    found = {}

    class Collecting(Pickler):
        def persistent_id(self, obj):
            if isinstance(obj, Storage):
                found[obj.key] = obj.array
            return super().persistent_id(obj)

    with zipfile.ZipFile(path, "w", compression) as archive:
        with archive.open("archive/data.pkl", "w") as file:
            Collecting(file, protocol=2).dump(value)
        for key, array in found.items():
            archive.writestr(f"archive/data/{key}", array.tobytes())
        if order:
            archive.writestr("archive/byteorder", order)
        for name, data in (extra or {}).items():
            archive.writestr(name, data)
    return path


def tensor(array, kind="FloatStorage", key="0"):
    strides = tuple(step // array.itemsize for step in array.strides)
    flat = np.ravel(array, order="K")
    return Tensor(Storage(kind, key, flat), 0, array.shape, strides)


_KINDS = {
    "f4": "FloatStorage", "f8": "DoubleStorage", "f2": "HalfStorage",
    "i8": "LongStorage", "i4": "IntStorage", "i2": "ShortStorage", "i1": "CharStorage",
    "u1": "ByteStorage", "b1": "BoolStorage",
}  # fmt: skip


def tensors(value, keys=None):
    """Return nested containers with a tensor for each array, each with a storage."""
    keys = keys if keys is not None else itertools.count()
    if isinstance(value, dict):
        return {name: tensors(inner, keys) for name, inner in value.items()}
    if isinstance(value, list):
        return [tensors(inner, keys) for inner in value]
    if not isinstance(value, np.ndarray):
        return value
    kind = _KINDS[value.dtype.str[1:]]
    return tensor(
        np.ascontiguousarray(value).reshape(value.shape), kind, f"{next(keys)}"
    )
