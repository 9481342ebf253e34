"""What acting adds to a rollout beside what the pool writes."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxfactory.types import Carry


# Of a game variable; larger ones are not numbers that mean anything.
_LARGEST = 1e9


class Columns(NamedTuple):
    """The policy's part of a rollout; fresh arrays for each rollout."""

    action: np.ndarray  # [T, B, A]
    log_prob: np.ndarray  # [T, B] float32
    value: np.ndarray  # [T, B]
    policy_version: np.ndarray  # [T, B] float32
    bootstrap_value: np.ndarray  # [B]


def make_columns(pool: Any, num_steps: int) -> Columns:
    """Return empty columns for a rollout of a pool.

    Args:
        pool: Supplies the number of environments and the actions' shape.
        num_steps: T, the steps of the rollout.
    """
    shape = (num_steps, pool.num_envs)
    actions = pool.spec.action
    return Columns(
        action=np.empty((*shape, actions.width), actions.dtype),
        log_prob=np.empty(shape, np.float32),
        value=np.empty(shape, np.float32),
        policy_version=np.empty(shape, np.float32),
        bootstrap_value=np.empty(shape[1:], np.float32),
    )


def as_variables(values: np.ndarray) -> np.ndarray:
    """Return game variables as the value function takes them, without infinities."""
    return np.clip(values, -_LARGEST, _LARGEST).astype(np.float32)


def final_variables(info: Any, picked: np.ndarray) -> np.ndarray:
    """Return game variables of the state that final observations show.

    Args:
        info: A step's `StepInfo`.
        picked: The rows whose episodes ended; variables of replaced engines are NaN.
    """
    variables = as_variables(info.game_variables[picked])
    variables[info.restarted[picked]] = np.nan
    return variables


def fetch(carry: Carry) -> Carry:
    """Return a recurrent state as NumPy arrays."""
    return jax.tree.map(np.asarray, carry)


def stacked(carries: Sequence[Carry]) -> Carry:
    """Return recurrent states along a new first axis; () without any."""
    if not carries:
        return ()
    return jax.tree.map(lambda *leaves: np.stack(leaves), *carries)
