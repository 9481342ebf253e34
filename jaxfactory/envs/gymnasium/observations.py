"""Conversion of Gymnasium observations into an image and a vector.

A uint8 `Box` of two or three axes is an image, with channels first or last: the smaller
of the first and last axis holds the channels. Everything else becomes a float32 vector:
`Box` flattened, `Discrete` and `MultiDiscrete` one-hot, `MultiBinary` as 0 and 1. The
parts of a `Dict` or `Tuple` are concatenated: images of one size along their channels,
vectors end to end.

`gymnasium.spaces.flatten` converts one observation at a time, images too: a batch of 64
takes 100 to 1,000 times as long.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from gymnasium import spaces
from jaxtyping import Float32, UInt8

from jaxfactory._util.errors import UserError
from jaxfactory.envs.gymnasium.space_parts import Path, leaves, named
from jaxfactory.spec import ObservationSpec


# Below this many pixels per side, a uint8 array is a vector and not an image.
_SMALLEST_IMAGE = 8


class ObservationCodec:
    """Converts batches of a space's observations into an image and a vector.

    Attributes:
        spec: Shapes of the image and the vector.
    """

    def __init__(self, space: spaces.Space):
        """Prepare the conversion of a space.

        Raises:
            UserError: If the space has an unsupported part.
        """
        self._images: list[tuple[Path, Callable[[np.ndarray], np.ndarray]]] = []
        self._vectors: list[tuple[Path, Callable[[np.ndarray], np.ndarray]]] = []
        sizes: list[tuple[int, int, int]] = []
        length = 0
        for path, leaf in leaves(space):
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
                + "); wrap the environment so that all have the same size"
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
        """Write the image and vector of a batch of observations into two arrays."""
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


def image_shape(space: spaces.Space) -> tuple[int, int, int] | None:
    """Return (height, width, channels) of an image space, None for other spaces."""
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


def _at(obs: Any, path: Path) -> np.ndarray:
    for step in path:
        obs = obs[step]
    return np.asarray(obs)


def _to_image(space: spaces.Box) -> Callable[[np.ndarray], np.ndarray]:
    if len(space.shape) == 2:
        return lambda batch: batch[..., None]
    if space.shape[0] < space.shape[2]:
        return lambda batch: np.moveaxis(batch, 1, -1)
    return lambda batch: batch


def _to_vector(
    space: spaces.Space, path: Path
) -> tuple[int, Callable[[np.ndarray], np.ndarray]]:
    """Return the length of a part's vector, and the conversion of a batch."""
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
        f"the observation{named(path)} is a {type(space).__name__} space, which is "
        "not supported; wrap the environment so that it is a Box, Discrete, "
        "MultiDiscrete, MultiBinary, or a Dict or Tuple of these"
    )
