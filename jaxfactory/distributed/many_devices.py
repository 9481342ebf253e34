"""Several devices that share an update, of one process or of several."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh, NamedSharding
from jaxtyping import Array, Int

from jaxfactory._util.errors import UserError
from jaxfactory.distributed.devices import (
    AXIS,
    ONE_DEVICE,
    ROLLOUT,
    ROWS,
    SAME,
    TIME_ROWS,
)
from jaxfactory.distributed.reductions import Split
from jaxfactory.distributed.team import SOLO, Together
from jaxfactory.types import Batch, Rollout


class ManyDevices:
    """Several devices, of one process or of several."""

    def __init__(self, per_process: int, num_groups: int, team: Together = SOLO):
        """Choose the devices: the first ones of each process.

        Args:
            per_process: How many of each process.
            num_groups: Groups of environments in each process.
            team: The processes.
        """
        self._team = team
        found: dict[int, list[Any]] = {}
        for device in sorted(jax.devices(), key=lambda d: (d.process_index, d.id)):
            found.setdefault(device.process_index, []).append(device)
        chosen = [device for each in found.values() for device in each[:per_process]]
        mine = [device for device in chosen if device in jax.local_devices()]
        self._devices = mine
        self._first = chosen.index(mine[0])
        self._num_groups = num_groups
        self._mesh = Mesh(np.array(chosen), (AXIS,))
        self._here = Mesh(np.array(mine), (AXIS,))
        self.count, self.local = len(chosen), len(mine)
        self._copied = NamedSharding(self._mesh, SAME)
        self.over = Split(AXIS, self.count)

    def program(
        self, function: Callable, inputs: Any, outputs: Any, donate: Sequence[int] = ()
    ) -> Callable:
        """Return the function, compiled for all devices."""
        compiled = self._on(self._mesh, function, inputs, outputs, tuple(donate))
        same = [layout == SAME for layout in inputs]
        met: set[Any] = set()

        def call(*args: Any) -> Any:
            args = tuple(
                self.enter(arg) if copied else arg
                for arg, copied in zip(args, same, strict=True)
            )
            if self._team.count > 1:
                # Processes do not compile equally fast, but gloo's collectives fail
                # when one of them comes half a minute later.
                shapes = str(jax.tree.map(jnp.shape, args))
                if shapes not in met:
                    compiled.lower(*args).compile()
                    self._team.share(None)
                    met.add(shapes)
            return compiled(*args)

        return call

    def acting(self, function: Callable, inputs: Any, outputs: Any) -> Callable:
        """Return the function, compiled for the devices of this process."""
        if self.local == 1:
            return jax.jit(function)
        return self._on(self._here, function, inputs, outputs, ())

    def sample(self, draw: Callable, key: Array, parameters: Array) -> Array:
        """Draw this device's actions out of those of the group's global rows."""
        index = jnp.int32(self._first)
        if self.local > 1:
            index = index + lax.axis_index(AXIS)
        rows = parameters.shape[0]
        zeros = jnp.zeros((rows * self.count, *parameters.shape[1:]), parameters.dtype)
        place = (index * rows, *[jnp.int32(0)] * (parameters.ndim - 1))
        drawn = draw(key, lax.dynamic_update_slice(zeros, parameters, place))
        return lax.dynamic_slice_in_dim(drawn, index * rows, rows)

    def enter(self, tree: Any) -> Any:
        """Copy arrays of this process to its devices, as parts of global arrays."""
        return jax.tree.map(self._entered, tree)

    def _entered(self, x: Any) -> Array:
        if isinstance(x, jax.Array) and x.sharding == self._copied:
            return x
        here = jax.device_put(x, NamedSharding(self._here, SAME))
        return here if self.local == self.count else self._rewrapped(here, self._mesh)

    def leave(self, tree: Any) -> Any:
        """Return this process's copies; nothing is moved."""
        if self.local == self.count:
            return tree
        if self.local == 1:
            return jax.tree.map(lambda x: x.addressable_data(0), tree)
        return jax.tree.map(lambda x: self._rewrapped(x, self._here), tree)

    def split(self, rollout: Rollout) -> Rollout:
        """Move this process's rows to its devices."""
        parts = {
            name: jax.tree.map(
                lambda x, axis=1 - (layout == ROWS): self._rows(x, axis),
                getattr(rollout, name),
            )
            for name, layout in ROLLOUT._asdict().items()
        }
        return Rollout(**parts)

    def exchange(self, batch: Batch, envs: Int[Array, "E"]) -> Batch:
        """Return this device's share of a minibatch; rows of others are sent to it.

        A minibatch holds the same environments however the batch is split, so a device
        rarely has as many of them as the others. Every device offers the rows that it
        has, and zeros for the others, and receives the sums for its share.
        """
        rows = batch.advantage.shape[1]
        own = self._position(envs, rows) - lax.axis_index(AXIS) * rows
        here = (own >= 0) & (own < rows)
        picked = ONE_DEVICE.exchange(batch, jnp.clip(own, 0, rows - 1))
        carry = jax.tree.map(lambda x: _received(x, here, 0), picked.carry)
        rest = picked._replace(carry=())
        rest = jax.tree.map(lambda x: _received(x, here, 1), rest)
        return rest._replace(carry=carry)

    def global_rows(self, num_envs: int) -> np.ndarray:
        """Return the global row of each of this process's environments."""
        size = num_envs // self._num_groups
        rows = np.arange(num_envs)
        group, place = rows // size, rows % size
        before = self._first // self.local * size
        total = size * (self.count // self.local)
        return group * total + before + place

    def check(self, num_envs: int, num_minibatches: int) -> None:
        """Check that environments and minibatches can be split evenly.

        Raises:
            UserError: If they cannot.
        """
        if num_envs % (self._num_groups * self.local):
            raise UserError(
                f"--num-envs {num_envs} must be a multiple of --num-groups "
                f"{self._num_groups} times the {self.local} devices of a process, so "
                "that each device has as many of every group"
            )
        processes = self.count // self.local
        share = num_minibatches * self.count
        if num_envs * processes % share:
            raise UserError(
                f"the {num_envs * processes} environments of all processes must be a "
                f"multiple of {share} (--num-minibatches {num_minibatches} times "
                f"{self.count} devices), so that each device has an equal share of a "
                "minibatch; change --num-envs or --num-minibatches"
            )

    def _on(
        self, mesh: Mesh, function: Callable, inputs: Any, outputs: Any, donate: tuple
    ) -> Callable:
        # Replicated results are the same on all devices because `reductions` made them
        # so; the check of that knows no FFI calls.
        mapped = jax.shard_map(
            function, mesh=mesh, in_specs=inputs, out_specs=outputs, check_vma=False
        )
        return jax.jit(mapped, donate_argnums=donate)

    def _rewrapped(self, x: Array, mesh: Mesh) -> Array:
        pieces = [shard.data for shard in x.addressable_shards]
        sharding = NamedSharding(mesh, SAME)
        return jax.make_array_from_single_device_arrays(x.shape, sharding, pieces)

    def _rows(self, x: Any, axis: int) -> Array:
        pieces = [
            jax.device_put(self._part(x, axis, number), device)
            for number, device in enumerate(self._devices)
        ]
        shape = list(x.shape)
        shape[axis] = shape[axis] // self.local * self.count
        sharding = NamedSharding(self._mesh, TIME_ROWS if axis else ROWS)
        return jax.make_array_from_single_device_arrays(tuple(shape), sharding, pieces)

    def _part(self, x: Any, axis: int, number: int) -> Any:
        """Return a copy of the rows of one of this process's devices."""
        if self.local == 1:
            return x
        size = x.shape[axis] // self._num_groups
        share = size // self.local
        starts = [g * size + number * share for g in range(self._num_groups)]
        pieces = [x[(slice(None),) * axis + (slice(s, s + share),)] for s in starts]
        return np.concatenate(pieces, axis)

    def _position(self, global_rows: Int[Array, "E"], rows: int) -> Int[Array, "E"]:
        """Return where global rows are in arrays of `rows` rows per device."""
        share = rows // self._num_groups
        group, rest = jnp.divmod(global_rows, share * self.count)
        device, place = jnp.divmod(rest, share)
        return device * rows + group * share + place


def _received(x: Array, here: Array, axis: int) -> Array:
    """Return a device's share of rows of which exactly one device has each."""
    shape = [1] * x.ndim
    shape[axis] = x.shape[axis]
    kind = x.dtype
    x = x.astype(jnp.uint8) if kind == jnp.bool_ else x
    offered = jnp.where(here.reshape(shape), x, jnp.zeros((), x.dtype))
    shares = lax.psum_scatter(offered, AXIS, scatter_dimension=axis, tiled=True)
    return shares.astype(kind)
