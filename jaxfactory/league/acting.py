"""Acting for a group whose rows belong to several policies."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import numpy as np

from jaxfactory.league.seats import padded, scatter
from jaxfactory.league.snapshots import Snapshot
from jaxfactory.models.normalization import Normalizer
from jaxfactory.types import Carry, Observation, Params


@runtime_checkable
class Actor(Protocol):
    """A policy to act with."""

    @property
    def params(self) -> Params:
        """Its parameters."""

    @property
    def normalizer(self) -> Normalizer:
        """Its statistics."""


class Acted(NamedTuple):
    """What acting for a group of environments returns; arrays on the host."""

    action: np.ndarray
    log_prob: np.ndarray
    value: np.ndarray
    carry: Carry


def act_in_batches(
    act: Callable[..., Any],
    batches: Iterable[tuple[Actor, np.ndarray]],
    inputs: tuple[Observation, Carry, np.ndarray],
    key: Any,
    counts: tuple[int, int],
) -> Acted:
    """Choose the actions of a group's rows, each batch with its own policy.

    Args:
        act: What ``make_act`` returned.
        batches: Who acts, and for which rows of the group; together all of them.
        inputs: Observation, carry and ``is_first`` of the group.
        key: The rollout's.
        counts: The count for `act`, and the number of counts in a rollout.
    """
    count, stride = counts
    inputs = jax.tree.map(np.asarray, inputs)
    pending = []
    for number, (actor, at) in enumerate(batches):
        # The rows of a policy that learns are equally many each time.
        picked = padded(at) if isinstance(actor, Snapshot) else at
        part = jax.tree.map(lambda x, picked=picked: x[picked], inputs)
        # Each (key, count) is used once.
        counted = np.uint32(count + number * stride)
        outputs = act(actor.params, actor.normalizer, *part, key, counted)
        # The inputs are kept until the outputs are fetched.
        pending.append((at, outputs, part))
    parts = [(at, jax.device_get(outputs)) for at, outputs, _ in pending]
    return Acted(*scatter(parts, len(inputs[2])))
