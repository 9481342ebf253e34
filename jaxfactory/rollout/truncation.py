"""Values of the observations that truncated episodes ended with."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array

from jaxfactory.types import Carry, Observation


class Truncation(NamedTuple):
    """Episodes of one group that were truncated at step t."""

    t: int
    rows: np.ndarray  # in the batch
    picked: np.ndarray  # in the group
    final_obs: Observation  # copied: the pool reuses its buffers
    carry: Carry  # the whole group's, after the step


def truncation_of(step: Any, t: int, start: int, carry: Carry) -> Truncation | None:
    """Return what bootstrapping a group's truncated episodes needs, None without any.

    Args:
        step: The pool's result of the group's action at step t.
        t: The step.
        start: The group's first row in the batch.
        carry: The group's, after the step.
    """
    if not step.truncated.any():
        return None
    picked = np.flatnonzero(step.truncated)
    final = step.info.final_observation
    final_obs = {name: leaf[picked] for name, leaf in final.items()}
    return Truncation(t, start + picked, picked, final_obs, carry)


def final_values(
    truncations: list[Truncation],
    shape: tuple[int, int],
    value: Callable[[Observation, Carry, np.ndarray], Array],
    batch: int,
) -> np.ndarray:
    """Return the values of the final observations, float32 [T, B], 0 elsewhere.

    All of a rollout's are computed in batches of one size, that of a group, for which
    the program is compiled anyway.

    Args:
        truncations: All truncations of one rollout.
        shape: T and B.
        value: From observations, carry and ``is_first`` to values.
        batch: Observations per call of `value`.
    """
    result = np.zeros(shape, np.float32)
    if not truncations:
        return result
    obs = _joined([cut.final_obs for cut in truncations])
    carry = _joined([_picked(cut) for cut in truncations])
    rows = np.concatenate([cut.rows for cut in truncations])
    times = np.concatenate([np.full(len(cut.rows), cut.t) for cut in truncations])
    size = -(-len(rows) // batch) * batch
    obs, carry = jax.tree.map(lambda leaf: _padded(leaf, size), (obs, carry))
    first = np.zeros(batch, bool)
    values = []
    for start in range(0, size, batch):
        part = jax.tree.map(lambda x, at=start: x[at : at + batch], (obs, carry))
        values.append(value(*part, first))
    result[times, rows] = np.concatenate(values)[: len(rows)]
    return result


def _picked(cut: Truncation) -> Carry:
    return jax.tree.map(lambda leaf: np.asarray(leaf)[cut.picked], cut.carry)


def _joined(trees: list[Any]) -> Any:
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *trees)


def _padded(leaf: np.ndarray, size: int) -> np.ndarray:
    return np.pad(leaf, [(0, size - len(leaf)), *[(0, 0)] * (leaf.ndim - 1)])
