"""Storage of a rollout's observations until the learner has read them."""

from functools import partial
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np

from jaxfactory._util.devices import computes_in_host_memory
from jaxfactory.distributed.devices import ONE_DEVICE, Devices
from jaxfactory.envs.step import observation
from jaxfactory.types import Observation


@runtime_checkable
class Storage(Protocol):
    """Stores one rollout's observations, step by step and group by group."""

    def put(self, t: int, rows: slice, obs: Observation) -> Observation:
        """Store the observations of some rows at step t; return them to act on."""

    def finish(self) -> Observation:
        """Return all stored observations, leaves ``[T+1, B, ...]``."""


class HostStorage:
    """The pool's slab itself, which JAX's CPU backend reads in place or copies once."""

    def __init__(self, slab: dict[str, np.ndarray]):
        """Serve the observations of one slab."""
        self._obs = observations(slab)

    def put(self, t: int, rows: slice, obs: Observation) -> Observation:
        """Return the observations; the pool itself writes them into the slab."""
        return obs

    def finish(self) -> Observation:
        """Return the slab's observations."""
        return self._obs


class DeviceStorage:
    """A buffer on an accelerator; each observation is transferred once.

    The copy that the policy acts on is written into the buffer in place, so the
    learner's rollout is already on the device. Like the slab, the buffer is written
    again for another rollout when the learner has read it.
    """

    def __init__(self, slab: dict[str, np.ndarray]):
        """Allocate a buffer for a slab's observations."""
        self._buffer: dict[str, Any] = {
            name: jnp.zeros(leaf.shape, leaf.dtype)
            for name, leaf in observations(slab).items()
        }

    def put(self, t: int, rows: slice, obs: Observation) -> Observation:
        """Transfer the observations to the device; return the device arrays."""
        sent = jax.tree.map(jax.device_put, obs)
        at = np.array([t, rows.start], np.int32)
        self._buffer = _write(self._buffer, sent, at)
        return sent

    def finish(self) -> Observation:
        """Return the buffer."""
        return self._buffer


def observations(slab: dict[str, np.ndarray]) -> Observation:
    """Return the observations in a slab, leaves ``[T+1, B, ...]``, without copies."""
    return observation(slab["obs"], slab["measurements"])


def make_storage(slab: dict[str, np.ndarray], devices: Devices = ONE_DEVICE) -> Storage:
    """Return the storage that suits the devices that act."""
    # Each of several devices takes its rows from the host.
    if computes_in_host_memory() or devices.local > 1:
        return HostStorage(slab)
    return DeviceStorage(slab)


@partial(jax.jit, donate_argnums=0)
def _write(buffer: Observation, obs: Observation, at: Any) -> Observation:
    def one(whole: Any, part: Any) -> Any:
        start = (at[0], at[1], *[jnp.int32(0)] * (part.ndim - 1))
        return jax.lax.dynamic_update_slice(whole, part[None], start)

    return jax.tree.map(one, buffer, obs)
