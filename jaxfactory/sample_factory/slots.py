"""Maps Sample Factory's arrays to jaxfactory's parameters."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from jaxfactory.scenarios.action_heads import Head


# Entries of the state dictionary that are not trained parameters.
_STATISTICS = ("running_mean", "running_var", "count")

Place = tuple[str, ...]


class Slot(NamedTuple):
    """One array of both networks.

    Attributes:
        place: Keys in jaxfactory's nested dictionary of parameters.
        name: Key in Sample Factory's state dictionary.
        arrange: Reorders the elements for jaxfactory without changing their values.
    """

    place: Place
    name: str
    arrange: Callable[[np.ndarray], np.ndarray]


def logit_order(heads: tuple[Head, ...]) -> np.ndarray:
    """Return, for each of jaxfactory's logits, the index of Sample Factory's.

    Sample Factory orders a discretized button from the lowest value to the highest; a
    head of jaxfactory may start with "nothing".
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
    """Return arrays as jaxfactory's nested dictionary of parameters, in float32.

    Args:
        slots: Where each array belongs.
        arrays: Weights, or other arrays of the weights' shapes, by their names in the
            state dictionary.
    """
    tree: dict[str, Any] = {}
    for slot in slots:
        node = tree
        for key in slot.place[:-1]:
            node = node.setdefault(key, {})
        node[slot.place[-1]] = slot.arrange(arrays[slot.name]).astype(np.float32)
    return tree


def parameter_names(model: Mapping[str, np.ndarray]) -> list[str]:
    """Return the names of the trained arrays, in the optimizer's order."""
    return [name for name in model if name.rpartition(".")[2] not in _STATISTICS]
