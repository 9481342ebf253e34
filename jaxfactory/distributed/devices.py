"""The devices that share an update: what lies where, and programs that run on all.

Environments are split over the devices, parameters and statistics are copied to each.
A program runs on every device with its share of the rows (`jax.shard_map`), because the
CPU kernels are calls that XLA cannot split; `reductions.Split` joins what must be of
the whole batch.

Within each group of environments every device has consecutive rows. So in a run of K
devices a group's rows are those of one device after the other, and an environment's row
in this order, its global row, is the same however the batch is split. Seeds and sampled
actions depend on the global row alone. Arrays that are split over devices hold a
device's rows together instead: they are sorted by device, then by group.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
from jax.sharding import PartitionSpec
from jaxtyping import Array, Int

from jaxfactory._util.devices import computes_in_host_memory
from jaxfactory.distributed.reductions import WHOLE, Reductions
from jaxfactory.types import Batch, Rollout


AXIS = "devices"
# How an array is laid out: a copy on each device, split along its first axis, or split
# along its second, which follows time.
SAME = PartitionSpec()
ROWS = PartitionSpec(AXIS)
TIME_ROWS = PartitionSpec(None, AXIS)
ROLLOUT = Rollout(*[TIME_ROWS] * len(Rollout._fields))._replace(
    carry=ROWS, bootstrap_value=ROWS
)
BATCH = Batch(*[TIME_ROWS] * len(Batch._fields))._replace(carry=ROWS)


@runtime_checkable
class Devices(Protocol):
    """The devices of a training run.

    Attributes:
        count: Devices of all processes.
        local: Devices of this process.
        over: Reductions over the whole batch.
    """

    @property
    def count(self) -> int:
        """Devices of all processes."""

    @property
    def local(self) -> int:
        """Devices of this process."""

    @property
    def over(self) -> Reductions:
        """Reductions over the whole batch, for use inside of `program`."""

    def program(
        self, function: Callable, inputs: Any, outputs: Any, donate: Sequence[int] = ()
    ) -> Callable:
        """Return a compiled function of arrays that are split as the layouts say."""

    def acting(self, function: Callable, inputs: Any, outputs: Any) -> Callable:
        """Return a compiled function that runs on this process's devices alone."""

    def sample(self, draw: Callable, key: Array, parameters: Array) -> Array:
        """Draw a group's actions, as if all of its global rows were drawn at once."""

    def enter(self, tree: Any) -> Any:
        """Copy arrays, equal in all processes, to each device, as `program` does."""

    def leave(self, tree: Any) -> Any:
        """Return copied arrays as arrays of this process."""

    def split(self, rollout: Rollout) -> Rollout:
        """Move this process's rows of a rollout to its devices."""

    def exchange(self, batch: Batch, envs: Int[Array, "E"]) -> Batch:
        """Return this device's share of a minibatch, given by global rows."""


class OneDevice(NamedTuple):
    """JAX's default device, which has the whole batch."""

    count: int = 1
    local: int = 1
    over: Reductions = WHOLE

    def program(
        self, function: Callable, inputs: Any, outputs: Any, donate: Sequence[int] = ()
    ) -> Callable:
        """Return the jitted function."""
        del inputs, outputs
        return jax.jit(function, donate_argnums=tuple(donate))

    def acting(self, function: Callable, inputs: Any, outputs: Any) -> Callable:
        """Return the jitted function."""
        del inputs, outputs
        return jax.jit(function)

    def sample(self, draw: Callable, key: Array, parameters: Array) -> Array:
        """Draw actions."""
        return draw(key, parameters)

    def enter(self, tree: Any) -> Any:
        """Return the arrays."""
        return tree

    def leave(self, tree: Any) -> Any:
        """Return the arrays."""
        return tree

    def split(self, rollout: Rollout) -> Rollout:
        """Return the rollout, on the device."""
        if computes_in_host_memory():
            return rollout
        return jax.device_put(rollout)

    def exchange(self, batch: Batch, envs: Int[Array, "E"]) -> Batch:
        """Return the given environments."""
        carry = jax.tree.map(lambda x: x[envs], batch.carry)
        rest = jax.tree.map(lambda x: x[:, envs], batch._replace(carry=()))
        return rest._replace(carry=carry)


ONE_DEVICE = OneDevice()
