"""Where a rollout's observations lie until the learner has read them."""

from functools import partial
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np

from jaxfactory.envs.step import observation
from jaxfactory.types import Observation


@runtime_checkable
class Storage(Protocol):
    """Takes one rollout's observations, step by step and group by group."""

    def put(self, t: int, rows: slice, obs: Observation) -> Observation:
        """Take the observations of some rows at step t; return them to act on."""

    def finish(self) -> Observation:
        """Return all of them, leaves ``[T+1, B, ...]``."""


class HostStorage:
    """The pool's own slab: what the learner's backend reads in place, or once."""

    def __init__(self, slab: dict[str, np.ndarray]):
        """Serve the observations of one slab."""
        self._obs = observations(slab)

    def put(self, t: int, rows: slice, obs: Observation) -> Observation:
        """Return the observations: the slab holds them, or will."""
        return obs

    def finish(self) -> Observation:
        """Return the slab's observations."""
        return self._obs


class DeviceStorage:
    """A buffer on an accelerator, to which each observation is sent once.

    The copy that is acted on is written into the buffer in place, so that the learner
    finds its rollout on the device.
    """

    def __init__(self, slab: dict[str, np.ndarray]):
        """Make a buffer for what a slab holds."""
        self._buffer: dict[str, Any] = {
            name: jnp.zeros(leaf.shape, leaf.dtype)
            for name, leaf in observations(slab).items()
        }

    def put(self, t: int, rows: slice, obs: Observation) -> Observation:
        """Send the observations to the device; return them there."""
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


def make_storage(slab: dict[str, np.ndarray]) -> Storage:
    """Return the storage that suits JAX's default backend."""
    if jax.default_backend() == "cpu":
        return HostStorage(slab)
    return DeviceStorage(slab)


@partial(jax.jit, donate_argnums=0)
def _write(buffer: Observation, obs: Observation, at: Any) -> Observation:
    def one(whole: Any, part: Any) -> Any:
        start = (at[0], at[1], *[jnp.int32(0)] * (part.ndim - 1))
        return jax.lax.dynamic_update_slice(whole, part[None], start)

    return jax.tree.map(one, buffer, obs)
