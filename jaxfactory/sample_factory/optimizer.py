"""Reads Adam's moments from an untrusted Sample Factory checkpoint."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from jaxfactory.sample_factory.slots import arranged, parameter_names
from jaxfactory.sample_factory.weights import Layout


# The number of updates is an int32.
MOST_UPDATES = 2**31 - 1


class Adam(NamedTuple):
    """Adam's state.

    Attributes:
        count: Updates so far.
        first: First moments, as jaxfactory's nested dictionary of parameters.
        second: Second moments, likewise.
    """

    count: int
    first: dict[str, Any]
    second: dict[str, Any]


def read(
    values: Mapping[Any, Any], model: Mapping[str, np.ndarray], layout: Layout
) -> Adam | None:
    """Return Adam's state in jaxfactory's layout; None if it is incomplete.

    Args:
        values: The contents of the checkpoint.
        model: The model's state dictionary.
        layout: Where the arrays belong.
    """
    optimizer = values.get("optimizer")
    state = optimizer.get("state") if isinstance(optimizer, dict) else None
    names = parameter_names(model)
    if not isinstance(state, dict) or len(state) != len(names):
        return None
    first, second = {}, {}
    for index, name in enumerate(names):
        moments = state.get(index)
        if not isinstance(moments, dict):
            return None
        mean, square = moments.get("exp_avg"), moments.get("exp_avg_sq")
        shape = model[name].shape
        # Adam takes the square root of the second moments.
        if not (_fits(mean, shape) and _fits(square, shape) and (square >= 0).all()):
            return None
        first[name], second[name] = mean, square
    count = _count(state[0].get("step"))
    if count is None:
        return None
    return Adam(count, arranged(layout.slots, first), arranged(layout.slots, second))


def _fits(moment: Any, shape: tuple[int, ...]) -> bool:
    return (
        isinstance(moment, np.ndarray)
        and moment.shape == shape
        and _is_float(moment.dtype)
        and is_finite(moment)
    )


def _is_float(dtype: np.dtype) -> bool:
    return dtype.kind == "f" or dtype == ml_dtypes.bfloat16


def is_finite(array: np.ndarray) -> bool:
    """Whether all of an array's numbers are finite in float32."""
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(array.astype(np.float32)).all())


def _count(step: Any) -> int | None:
    """Return a valid number of updates, or None."""
    if isinstance(step, np.ndarray) and step.ndim == 0:
        step = step.item()
    if type(step) not in (int, float) or not 0 <= step <= MOST_UPDATES:
        return None
    return int(step)
