"""Where Sample Factory's arrays belong in our parameters, and in which order."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from jaxfactory.scenarios.action_heads import Head


# What its state dictionary holds besides trained parameters.
_STATISTICS = ("running_mean", "running_var", "count")

Place = tuple[str, ...]


class Slot(NamedTuple):
    """One array, there and here.

    Attributes:
        place: Keys of our nested dictionary of parameters.
        name: The state dictionary's key.
        arrange: Puts its elements into our order, without changing them.
    """

    place: Place
    name: str
    arrange: Callable[[np.ndarray], np.ndarray]


def logit_order(heads: tuple[Head, ...]) -> np.ndarray:
    """Return, for each of our logits, the index of theirs.

    A discretised button goes from its lowest value to its highest there, while a head
    of ours may begin with "nothing".
    """
    order: list[int] = []
    for head in heads:
        values = [choice[0][1] if choice else 0.0 for choice in head]
        buttons = {button for choice in head for button, _ in choice}
        ranks = range(len(head))
        if len(buttons) == 1:
            ranks = np.argsort(np.argsort(values)).tolist()
        start = len(order)
        order += [start + rank for rank in ranks]
    return np.array(order)


def arranged(
    slots: tuple[Slot, ...], arrays: Mapping[str, np.ndarray]
) -> dict[str, Any]:
    """Return arrays as our nested dictionary of parameters, float32.

    Args:
        slots: Where each belongs.
        arrays: By the state dictionary's names: weights, or anything with an element
            for each of theirs.
    """
    tree: dict[str, Any] = {}
    for slot in slots:
        node = tree
        for key in slot.place[:-1]:
            node = node.setdefault(key, {})
        node[slot.place[-1]] = slot.arrange(arrays[slot.name]).astype(np.float32)
    return tree


def parameter_names(model: Mapping[str, np.ndarray]) -> list[str]:
    """Return the names of the trained arrays, in the order the optimizer counts."""
    return [name for name in model if name.rpartition(".")[2] not in _STATISTICS]
