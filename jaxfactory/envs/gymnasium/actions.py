"""Conversion of a policy's output into Gymnasium actions.

`Discrete`, `MultiDiscrete` and `MultiBinary` become categorical heads, a `Box` becomes
continuous values, and `Tuple` and `Dict` concatenate those of their parts. Values are
clipped to the box. If it is bounded on both sides, they are first scaled from [-1, 1]
to its bounds; otherwise they are in the box's own units.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from gymnasium import spaces
from jaxtyping import Shaped

from jaxfactory._util.errors import UserError
from jaxfactory.envs.gymnasium.space_parts import Path, leaves, named
from jaxfactory.spec import ActionSpec


class _Field(NamedTuple):
    """A part of the action: its columns in a row, and their conversion."""

    columns: slice
    decode: Callable[[np.ndarray], np.ndarray]


class ActionCodec:
    """Converts rows of indices and continuous values into a space's actions.

    Attributes:
        spec: Heads and continuous values of a row.
    """

    def __init__(self, space: spaces.Space):
        """Prepare the conversion to a space.

        Raises:
            UserError: If the space has an unsupported part, or no part with a choice.
        """
        self._space = space
        heads: list[int] = []
        continuous = 0
        found: dict[Path, tuple[bool, slice, Callable[[np.ndarray], np.ndarray]]] = {}
        for path, leaf in leaves(space):
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
            raise UserError(f"the action space {space} has no choice to make")
        self.spec = ActionSpec(heads=tuple(heads), continuous=continuous)
        offset = len(heads)
        self._fields = {
            path: _Field(
                slice(at.start + offset, at.stop + offset) if is_number else at, decode
            )
            for path, (is_number, at, decode) in found.items()
        }

    def check(self, rows: Shaped[np.ndarray, "B A"]) -> None:
        """Check that every index is one of its head's choices.

        Raises:
            ValueError: If one is not.
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
        """Return the batch of actions, in the form of a vector environment's space."""
        return self._assemble(self._space, (), rows)

    def decode_one(self, row: Shaped[np.ndarray, " A"]) -> Any:
        """Return the action of one row, in the form of the environment's space."""
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


def _first(batch: Any, space: spaces.Space) -> Any:
    if isinstance(batch, dict):
        return {name: _first(part, space[name]) for name, part in batch.items()}
    if isinstance(batch, tuple):
        return tuple(_first(part, space[index]) for index, part in enumerate(batch))
    return batch[0]


def _to_choice(
    space: spaces.Space, path: Path
) -> tuple[list[int], Callable[[np.ndarray], np.ndarray]]:
    """Return the sizes of a part's heads, and the conversion of their indices."""
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
        f"the action{named(path)} is a {type(space).__name__} space, which is not "
        "supported; wrap the environment so that it is a Box, Discrete, "
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
