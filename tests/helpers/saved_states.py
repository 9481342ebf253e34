"""Small training states to save, and how two states compare."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxfactory.metrics.progress import Progress
from jaxfactory.ppo.learner import TrainState


class State(NamedTuple):
    params: Any
    opt_state: Any
    step: Any
    frames: int
    key: Any


class Ended(NamedTuple):
    shaped_return: float
    raw_return: float = 0.0
    length: int = 1
    frags: int = 0
    place: int = 0


def make_state(frames=0, fill=0.0, width=3):
    params = {"dense": {"kernel": jnp.full((2, width), fill), "bias": jnp.zeros(width)}}
    return State(
        params=params,
        opt_state=optax.adam(1e-3).init(params),
        step=jnp.int32(frames // 10),
        frames=frames,
        key=jax.random.key(frames % 1000),
    )


def make_progress(mean=None, number=100, seconds=0.0):
    progress = Progress(clock=lambda: 0.0)
    progress.resume({**progress.state(), "seconds": seconds})
    if mean is not None:
        progress.episodes.extend([Ended(mean)] * number)
    return progress


def leaves(state: TrainState) -> list[np.ndarray]:
    """Return the arrays of a state, in the order of the tree."""
    state = state._replace(key=jax.random.key_data(state.key))
    return [np.asarray(leaf) for leaf in jax.tree.leaves(state)]


def assert_equal(one: TrainState, other: TrainState) -> None:
    """Check that two states hold the same arrays, bit by bit."""
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for a, b in zip(leaves(one), leaves(other), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)
