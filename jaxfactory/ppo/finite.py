"""Skipping gradient steps in which something is not finite, without waiting for them.

A step is computed as always. On the device, its results are taken only if the loss, the
norm of every gradient and every new parameter are finite, so the state stays the last
good one. What went first is a number, which is fetched with the metrics.
"""

import math
from collections.abc import Mapping
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int32

from jaxfactory.types import Metrics, Params


Tree = TypeVar("Tree")

# Among a step's metrics: 0 if all was finite, otherwise the place in `parts_of` of the
# first part that was not, plus 1.
FIRST = "first_nonfinite"
# Among an update's metrics: how many of its steps were skipped.
SKIPPED = "skipped_minibatches"

# Means over an update that are not finite if something before the gradient was not, in
# the order of the computation.
_BEFORE_GRADIENTS = {
    "reward_mean": "the rewards",
    "value_mean": "the observations, or the values predicted from them",
    "return_mean": "the returns",
    "bonus_mean": "the exploration bonus",
    "policy_loss": "the policy loss",
    "value_loss": "the value loss",
    "exploration_loss": "the exploration loss",
}


def parts_of(params: Params) -> list[str]:
    """Return what a gradient step checks, in order: loss, gradients, parameters."""
    flat, _ = jax.tree_util.tree_flatten_with_path(params)
    names = [
        jax.tree_util.keystr(where, simple=True, separator=".") for where, _ in flat
    ]
    return [
        "the loss",
        *(f"the gradient of {name}" for name in names),
        *(f"the new parameters {name}" for name in names),
    ]


def first_nonfinite(
    loss: Float[Array, ""], squares: list[Float[Array, ""]], params: Params
) -> Int32[Array, ""]:
    """Return `FIRST` of a step.

    Args:
        loss: The step's loss.
        squares: Sum of squares of each leaf of the gradient.
        params: The parameters after the step.
    """
    new = [jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(params)]
    finite = jnp.stack([jnp.isfinite(x) for x in (loss, *squares)] + new)
    # argmin is the first False.
    first = jnp.argmin(finite).astype(jnp.int32) + 1
    return jnp.where(finite.all(), jnp.int32(0), first)


def choose(taken: Bool[Array, ""], new: Tree, old: Tree) -> Tree:
    """Return one of two pytrees of the same structure."""
    return jax.tree.map(lambda one, other: jnp.where(taken, one, other), new, old)


def or_old(new: Tree, old: Tree) -> Tree:
    """Return ``new`` if all of it is finite, ``old`` otherwise."""
    finite = [jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(new)]
    return choose(jnp.stack(finite).all(), new, old)


def summary(metrics: tuple[Metrics, ...]) -> Metrics:
    """Return the metrics of several steps as those of an update, inside jit.

    Means, but the number of skipped steps, and what was not finite in the first one.
    """
    stacked = jax.tree.map(lambda *values: jnp.stack(values), *metrics)
    first = stacked.pop(FIRST)
    skipped = first > 0
    return {
        **{
            name: values.sum() if name.endswith(SKIPPED) else values.mean()
            for name, values in stacked.items()
        },
        SKIPPED: skipped.sum().astype(jnp.float32),
        # argmax is the first True.
        FIRST: first[jnp.argmax(skipped)],
    }


def describe(losses: Mapping[str, Any], parts: list[str]) -> str:
    """Return what was not finite first in an update; "" if it took all of its steps.

    Args:
        losses: The update's metrics, fetched.
        parts: The result of `parts_of`.
    """
    if not losses[SKIPPED]:
        bonus = losses.get(f"bonus_{SKIPPED}", 0.0)
        return "the loss of the exploration bonus, or its gradient" if bonus else ""
    if losses[FIRST] == 1:
        for name, title in _BEFORE_GRADIENTS.items():
            if not math.isfinite(losses.get(name, 0.0)):
                return title
    return parts[int(losses[FIRST]) - 1]
