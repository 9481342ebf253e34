"""Between Gymnasium's spaces and what a network reads and decides.

Observations: a uint8 `Box` of two or three axes is an image (channels first or last;
the shorter end is taken for the channels). All else is made a vector of float32: `Box`
flattened, `Discrete` and `MultiDiscrete` one-hot, `MultiBinary` as 0 and 1. The parts
of a `Dict` or `Tuple` are put together: images of one size as channels of one image,
vectors end to end.

Actions: `Discrete`, `MultiDiscrete` and `MultiBinary` are categorical heads, a `Box` is
numbers, `Tuple` and `Dict` put theirs side by side. Numbers are clipped to the box.
Where it is bounded on both sides they are first scaled, so that -1 is its low end and 1
its high end; elsewhere they are in the box's own units.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from gymnasium import spaces
from jaxtyping import Float32, Shaped, UInt8

from jaxfactory._util.errors import UserError
from jaxfactory.spec import ActionSpec, ObservationSpec


Path = tuple[Any, ...]
# Below this many pixels a side, a uint8 array is numbers and not an image.
_SMALLEST_IMAGE = 8


class ObservationCodec:
    """Turns batches of a space's observations into an image and a vector.

    Attributes:
        spec: Their shapes.
    """

    def __init__(self, space: spaces.Space):
        """Plan for a space.

        Raises:
            UserError: If it holds something that no network here can read.
        """
        self._images: list[tuple[Path, Callable[[np.ndarray], np.ndarray]]] = []
        self._vectors: list[tuple[Path, Callable[[np.ndarray], np.ndarray]]] = []
        sizes: list[tuple[int, int, int]] = []
        length = 0
        for path, leaf in _leaves(space):
            shape = image_shape(leaf)
            if shape is not None:
                sizes.append(shape)
                self._images.append((path, _to_image(leaf)))
            else:
                size, convert = _to_vector(leaf, path)
                length += size
                self._vectors.append((path, convert))
        if len({size[:2] for size in sizes}) > 1:
            raise UserError(
                "the observation has images of different sizes ("
                + ", ".join(f"{h}x{w}" for h, w, _ in sizes)
                + "); wrap the environment so that they are of one size"
            )
        channels = sum(size[2] for size in sizes)
        image = (*sizes[0][:2], channels) if sizes else None
        self.spec = ObservationSpec(image=image, measurements=length)

    def image(self, obs: Any) -> UInt8[np.ndarray, "B H W C"]:
        """Return the image of a batch of observations."""
        parts = [convert(_at(obs, path)) for path, convert in self._images]
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=-1)

    def vector(self, obs: Any) -> Float32[np.ndarray, "B M"]:
        """Return the vector of a batch of observations."""
        parts = [convert(_at(obs, path)) for path, convert in self._vectors]
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=-1)

    def write(
        self, obs: Any, image: np.ndarray, vector: np.ndarray, rows: Any = slice(None)
    ) -> None:
        """Write a batch of observations into rows of two arrays, where it has such."""
        if self._images:
            image[rows] = self.image(obs)
        if self._vectors:
            vector[rows] = self.vector(obs)

    def batch_of_one(self, obs: Any) -> Any:
        """Return a single observation as a batch of one."""
        if isinstance(obs, dict):
            return {name: self.batch_of_one(part) for name, part in obs.items()}
        if isinstance(obs, tuple):
            return tuple(self.batch_of_one(part) for part in obs)
        return np.asarray(obs)[None]


class _Field(NamedTuple):
    """Where a part of the action lies in a row, and how its space's value is made."""

    columns: slice
    decode: Callable[[np.ndarray], np.ndarray]


class ActionCodec:
    """Turns rows of indices and numbers into a space's actions.

    Attributes:
        spec: What the rows hold.
    """

    def __init__(self, space: spaces.Space):
        """Plan for a space.

        Raises:
            UserError: If it holds something that no policy here can decide.
        """
        self._space = space
        heads: list[int] = []
        continuous = 0
        found: dict[Path, tuple[bool, slice, Callable[[np.ndarray], np.ndarray]]] = {}
        for path, leaf in _leaves(space):
            if isinstance(leaf, spaces.Box):
                count = int(np.prod(leaf.shape))
                at = slice(continuous, continuous + count)
                found[path] = (True, at, _to_box(leaf))
                continuous += count
            else:
                sizes, decode = _to_choice(leaf, path)
                at = slice(len(heads), len(heads) + len(sizes))
                found[path] = (False, at, decode)
                heads += sizes
        if not heads and not continuous:
            raise UserError(f"the action space {space} leaves nothing to decide")
        self.spec = ActionSpec(heads=tuple(heads), continuous=continuous)
        offset = len(heads)
        self._fields = {
            path: _Field(
                slice(at.start + offset, at.stop + offset) if is_number else at, decode
            )
            for path, (is_number, at, decode) in found.items()
        }

    def check(self, rows: Shaped[np.ndarray, "B A"]) -> None:
        """Complain if a row has an index that its head does not have.

        Raises:
            ValueError: If one has.
        """
        heads = np.array(self.spec.heads, np.int64)
        indices = rows[:, : len(heads)]
        wrong = (indices < 0) | (indices >= heads)
        if wrong.any():
            row, head = np.argwhere(wrong)[0]
            raise ValueError(
                f"action index {indices[row, head]:g} of environment {row} is outside "
                f"head {head}, which has {heads[head]} choices, from 0"
            )

    def decode(self, rows: Shaped[np.ndarray, "B A"]) -> Any:
        """Return the batch of actions, as a vector environment's space has it."""
        return self._assemble(self._space, (), rows)

    def decode_one(self, row: Shaped[np.ndarray, " A"]) -> Any:
        """Return the action of one row, as the environment's space has it."""
        return _first(self.decode(row[None]), self._space)

    def _assemble(self, space: spaces.Space, path: Path, rows: np.ndarray) -> Any:
        if isinstance(space, spaces.Dict):
            return {
                name: self._assemble(part, (*path, name), rows)
                for name, part in space.spaces.items()
            }
        if isinstance(space, spaces.Tuple):
            return tuple(
                self._assemble(part, (*path, index), rows)
                for index, part in enumerate(space.spaces)
            )
        field = self._fields[path]
        return field.decode(rows[:, field.columns])


def image_shape(space: spaces.Space) -> tuple[int, int, int] | None:
    """Return (height, width, channels) of a space of images, None for any other."""
    if not isinstance(space, spaces.Box) or space.dtype != np.uint8:
        return None
    if len(space.shape) == 2:
        shape = (*space.shape, 1)
    elif len(space.shape) == 3:
        first, middle, last = space.shape
        shape = (middle, last, first) if first < last else (first, middle, last)
    else:
        return None
    return shape if min(shape[:2]) >= _SMALLEST_IMAGE else None


def _leaves(
    space: spaces.Space, path: Path = ()
) -> Iterator[tuple[Path, spaces.Space]]:
    """Yield the spaces that a space is put together from, and where they stand."""
    if isinstance(space, spaces.Dict):
        for name, part in space.spaces.items():
            yield from _leaves(part, (*path, name))
    elif isinstance(space, spaces.Tuple):
        for index, part in enumerate(space.spaces):
            yield from _leaves(part, (*path, index))
    else:
        yield path, space


def _at(obs: Any, path: Path) -> np.ndarray:
    for step in path:
        obs = obs[step]
    return np.asarray(obs)


def _first(batch: Any, space: spaces.Space) -> Any:
    if isinstance(batch, dict):
        return {name: _first(part, space[name]) for name, part in batch.items()}
    if isinstance(batch, tuple):
        return tuple(_first(part, space[index]) for index, part in enumerate(batch))
    return batch[0]


def _to_image(space: spaces.Box) -> Callable[[np.ndarray], np.ndarray]:
    if len(space.shape) == 2:
        return lambda batch: batch[..., None]
    if space.shape[0] < space.shape[2]:
        return lambda batch: np.moveaxis(batch, 1, -1)
    return lambda batch: batch


def _to_vector(
    space: spaces.Space, path: Path
) -> tuple[int, Callable[[np.ndarray], np.ndarray]]:
    """Return a part's length as a vector, and what makes one of a batch."""
    if isinstance(space, spaces.Box | spaces.MultiBinary):
        size = int(np.prod(space.shape))
        return size, lambda batch: batch.reshape(len(batch), -1).astype(np.float32)
    if isinstance(space, spaces.Discrete):
        n, start = int(space.n), int(space.start)
        return n, lambda batch: np.eye(n, dtype=np.float32)[batch - start]
    if isinstance(space, spaces.MultiDiscrete):
        sizes = np.asarray(space.nvec).reshape(-1)
        starts = np.asarray(space.start).reshape(-1)

        def one_hot(batch: np.ndarray) -> np.ndarray:
            flat = batch.reshape(len(batch), -1) - starts
            parts = [
                np.eye(int(size), dtype=np.float32)[flat[:, index]]
                for index, size in enumerate(sizes)
            ]
            return np.concatenate(parts, axis=-1)

        return int(sizes.sum()), one_hot
    raise UserError(
        f"the observation{_named(path)} is a {type(space).__name__} space, which no "
        "network here reads; wrap the environment so that it is a Box, Discrete, "
        "MultiDiscrete, MultiBinary, or a Dict or Tuple of these"
    )


def _to_choice(
    space: spaces.Space, path: Path
) -> tuple[list[int], Callable[[np.ndarray], np.ndarray]]:
    """Return the sizes of a part's heads, and what makes its actions of indices."""
    if isinstance(space, spaces.Discrete):
        start = int(space.start)
        return [int(space.n)], lambda indices: indices[:, 0].astype(np.int64) + start
    if isinstance(space, spaces.MultiDiscrete):
        nvec, start = np.asarray(space.nvec), np.asarray(space.start)
        dtype = space.dtype

        def choices(indices: np.ndarray) -> np.ndarray:
            shaped = indices.reshape(len(indices), *nvec.shape)
            return (shaped.astype(np.int64) + start).astype(dtype)

        return nvec.reshape(-1).tolist(), choices
    if isinstance(space, spaces.MultiBinary):
        shape = space.shape
        count = int(np.prod(shape))
        return [2] * count, lambda indices: indices.reshape(-1, *shape).astype(np.int8)
    raise UserError(
        f"the action{_named(path)} is a {type(space).__name__} space, which no policy "
        "here decides; wrap the environment so that it is a Box, Discrete, "
        "MultiDiscrete, MultiBinary, or a Dict or Tuple of these"
    )


def _to_box(space: spaces.Box) -> Callable[[np.ndarray], np.ndarray]:
    low, high = space.low.astype(np.float64), space.high.astype(np.float64)
    bounded = np.isfinite(low) & np.isfinite(high)
    middle = np.where(bounded, (low + high) / 2, 0.0)
    half = np.where(bounded, (high - low) / 2, 1.0)
    whole = np.issubdtype(space.dtype, np.integer)

    def numbers(rows: np.ndarray) -> np.ndarray:
        shaped = rows.reshape(len(rows), *space.shape).astype(np.float64)
        values = np.clip(middle + half * shaped, low, high)
        return (np.rint(values) if whole else values).astype(space.dtype)

    return numbers


def _named(path: Path) -> str:
    return f" {'.'.join(map(str, path))!r}" if path else ""
