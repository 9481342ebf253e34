"""The parts of Gymnasium's composite spaces."""

from collections.abc import Iterator
from typing import Any

from gymnasium import spaces


Path = tuple[Any, ...]


def leaves(space: spaces.Space, path: Path = ()) -> Iterator[tuple[Path, spaces.Space]]:
    """Yield the path and space of each part; a plain space is one part."""
    if isinstance(space, spaces.Dict):
        for name, part in space.spaces.items():
            yield from leaves(part, (*path, name))
    elif isinstance(space, spaces.Tuple):
        for index, part in enumerate(space.spaces):
            yield from leaves(part, (*path, index))
    else:
        yield path, space


def named(path: Path) -> str:
    """Return a part's path for an error message, "" for the whole space."""
    return f" {'.'.join(map(str, path))!r}" if path else ""
