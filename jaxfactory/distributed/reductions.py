"""Means and other statistics over a batch that may be split over devices.

A function that reduces a batch takes one of these. With `WHOLE` it computes what it
would without; inside of a program that `devices` splits over an axis, `Split` makes
every device compute the result for the whole batch.
"""

from typing import Any, NamedTuple, Protocol, TypeVar, runtime_checkable

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float


Tree = TypeVar("Tree")


@runtime_checkable
class Reductions(Protocol):
    """Statistics over all elements of a batch.

    Attributes:
        count: Equal parts that the batch is split into.
    """

    @property
    def count(self) -> int:
        """Equal parts that the batch is split into."""

    def average(self, tree: Any) -> Any:
        """Return the mean over the parts of each float32 array of a pytree."""

    def mean(self, x: Float[Array, "..."]) -> Float[Array, ""]:
        """Return the mean."""

    def var(self, x: Float[Array, "..."]) -> Float[Array, ""]:
        """Return the (population) variance."""

    def std(self, x: Float[Array, "..."]) -> Float[Array, ""]:
        """Return the standard deviation."""

    def max(self, x: Float[Array, "..."]) -> Float[Array, ""]:
        """Return the largest element."""


class Whole(NamedTuple):
    """The batch is on one device."""

    count: int = 1

    def average(self, tree: Tree) -> Tree:
        """Return the tree."""
        return tree

    def mean(self, x: Float[Array, "..."]) -> Float[Array, ""]:
        """Return the mean."""
        return x.mean()

    def var(self, x: Float[Array, "..."]) -> Float[Array, ""]:
        """Return the variance."""
        return x.var()

    def std(self, x: Float[Array, "..."]) -> Float[Array, ""]:
        """Return the standard deviation."""
        return x.std()

    def max(self, x: Float[Array, "..."]) -> Float[Array, ""]:
        """Return the largest element."""
        return x.max()


class Split(NamedTuple):
    """The batch is split evenly over a mesh axis.

    Attributes:
        axis: Name of the axis.
        count: Its size.
    """

    axis: str
    count: int

    def average(self, tree: Tree) -> Tree:
        """Return the mean over the devices, with a single collective for all arrays."""
        leaves, structure = jax.tree.flatten(tree)
        flat = jnp.concatenate([leaf.reshape(-1) for leaf in leaves])
        flat = lax.pmean(flat, self.axis)
        means, start = [], 0
        for leaf in leaves:
            part = lax.slice(flat, (start,), (start + leaf.size,))
            means.append(part.reshape(leaf.shape))
            start += leaf.size
        return jax.tree.unflatten(structure, means)

    def mean(self, x: Float[Array, "..."]) -> Float[Array, ""]:
        """Return the mean over all devices."""
        return lax.pmean(x.mean(), self.axis)

    def var(self, x: Float[Array, "..."]) -> Float[Array, ""]:
        """Return the variance over all devices."""
        return self.mean(jnp.square(x - self.mean(x)))

    def std(self, x: Float[Array, "..."]) -> Float[Array, ""]:
        """Return the standard deviation over all devices."""
        return jnp.sqrt(self.var(x))

    def max(self, x: Float[Array, "..."]) -> Float[Array, ""]:
        """Return the largest element on any device; has no gradient."""
        return lax.pmax(lax.stop_gradient(x.max()), self.axis)


WHOLE = Whole()
