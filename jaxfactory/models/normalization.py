"""Running mean and variance of observations and returns.

Statistics start at mean 0, variance 1, count 1, and a batch is merged into them with
the parallel formula of Chan, Golub and LeVeque (1979), which subtracts means before
squaring and so stays accurate in float32. Statistics that are never updated do not
change their input (except for epsilon and the clip), so not updating them switches
normalization off.

Images are uint8. Their sums are computed exactly, in integers, without a float32 copy
of the rollout: that copy makes the plain formula slow on a CPU.
"""

import math
from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Shaped, UInt8

from jaxfactory.distributed.reductions import WHOLE, Reductions
from jaxfactory.types import Observation, ObservationSpec


# The part of rollouts' observations that only the value function sees.
VARIABLES = "variables"
CLIP = 5.0
EPS = 1e-5
_PIXEL = 255.0
# uint32 holds the sum of squares of this many uint8 values: 2^32 / 255^2 = 66,051.
_MAX_EXACT_SAMPLES = 66_000


class RunningStats(NamedTuple):
    """Elementwise mean and variance of all samples so far.

    Attributes:
        mean: Running mean.
        var: Running (population) variance.
        count: Number of samples, initially 1. As a float32, it is exact up to 2^24;
            past about 10^10 samples, a rollout hardly changes the statistics.
    """

    mean: Float[Array, "*shape"]
    var: Float[Array, "*shape"]
    count: Float[Array, ""]


class Normalizer(NamedTuple):
    """Statistics that normalize the network's inputs and outputs.

    Attributes:
        obs: Statistics for each part of the observation; those of the image are of
            pixels divided by 255.
        returns: Scalar statistics of the discounted return.
    """

    obs: dict[str, RunningStats]
    returns: RunningStats


def init(shape: tuple[int, ...]) -> RunningStats:
    """Return fresh statistics for elements of the given shape."""
    return RunningStats(
        mean=jnp.zeros(shape, jnp.float32),
        var=jnp.ones(shape, jnp.float32),
        count=jnp.ones((), jnp.float32),
    )


def init_normalizer(spec: ObservationSpec, variables: int = 0) -> Normalizer:
    """Return fresh statistics for an observation and for returns.

    Args:
        spec: The observation.
        variables: Number of game variables that the value function sees besides it.
    """
    obs = {name: init(shape) for name, shape in spec.shapes.items()}
    if variables:
        obs[VARIABLES] = init((variables,))
    return Normalizer(obs=obs, returns=init(()))


def merge(a: RunningStats, b: RunningStats) -> RunningStats:
    """Return the statistics of both sets of samples together."""
    count = a.count + b.count
    fraction = b.count / count
    delta = b.mean - a.mean
    var = a.var + (b.var - a.var) * fraction + delta**2 * fraction * (1 - fraction)
    return RunningStats(a.mean + delta * fraction, var, count)


def forget(stats: RunningStats, samples: int, memory: float) -> RunningStats:
    """Give earlier samples less weight: 1/e after `memory` new ones.

    Args:
        stats: Statistics, before `samples` new ones are merged into them.
        samples: Number of new samples.
        memory: Number of samples.
    """
    return stats._replace(count=stats.count * math.exp(-samples / memory))


def update(
    stats: RunningStats,
    batch: Shaped[Array, "..."],
    axes: tuple[int, ...],
    over: Reductions = WHOLE,
) -> RunningStats:
    """Merge a batch into the statistics.

    Args:
        stats: Statistics of shape ``S``.
        batch: Samples. A uint8 batch counts as pixels and is divided by 255; its
            sample axes must come first.
        axes: The axes of `batch` over samples; the others have shape ``S``.
        over: Joins the parts of a batch that is split over devices.

    Returns:
        The merged statistics.
    """
    if batch.dtype == jnp.uint8:
        shape = batch.shape[len(axes) :]
        samples = batch.reshape(-1, *shape)
        for start in range(0, samples.shape[0], _MAX_EXACT_SAMPLES):
            chunk = samples[start : start + _MAX_EXACT_SAMPLES]
            stats = merge(stats, _joined(pixel_moments(chunk), over))
        return stats
    mean = batch.mean(axes)
    centered = batch - jnp.expand_dims(mean, axes)
    count = batch.size // mean.size
    var = jnp.square(centered).mean(axes)
    return merge(stats, _joined(RunningStats(mean, var, jnp.float32(count)), over))


def _joined(part: RunningStats, over: Reductions) -> RunningStats:
    """Return the statistics of equal parts together."""
    if over.count == 1:
        return part
    mean = over.average(part.mean)
    var = over.average(part.var + jnp.square(part.mean - mean))
    return RunningStats(mean, var, part.count * over.count)


def update_obs(
    stats: dict[str, RunningStats], obs: Observation, over: Reductions = WHOLE
) -> dict:
    """Return updated statistics of observations with leaves ``[T, B, ...]``."""
    return {name: update(stats[name], obs[name], (0, 1), over) for name in obs}


def pixel_moments(samples: UInt8[Array, "n *shape"]) -> RunningStats:
    """Return mean and variance over at most 66,000 images, in units of pixel / 255.

    The sums are exact integers. They are recentered at the integer nearest to the mean,
    exactly, because the results fit into arithmetic modulo 2^32. The recentered squares
    have the magnitude of the variance, for which float32 is accurate.
    """
    n = samples.shape[0]
    total, squares = lax.platform_dependent(
        samples, cpu=_pixel_sums_loop, default=_pixel_sums_reduce
    )
    center = (total + jnp.uint32(n // 2)) // jnp.uint32(n)
    rest = (total - center * jnp.uint32(n)).astype(jnp.int32).astype(jnp.float32)
    # sum (x - c)^2 = sum x^2 - c (2 sum x - n c)
    spread = squares - center * (jnp.uint32(2) * total - jnp.uint32(n) * center)
    offset = rest / n
    var = jnp.maximum(spread.astype(jnp.float32) / n - offset**2, 0.0)
    mean = (center.astype(jnp.float32) + offset) / _PIXEL
    return RunningStats(mean, var / _PIXEL**2, jnp.float32(n))


def _pixel_sums_reduce(samples: Array) -> tuple[Array, Array]:
    wide = samples.astype(jnp.uint32)
    return wide.sum(0, dtype=jnp.uint32), (wide * wide).sum(0, dtype=jnp.uint32)


def _pixel_sums_loop(samples: Array) -> tuple[Array, Array]:
    # XLA's CPU reduction over the leading axis is 20 times slower than this loop, which
    # reads each image once and keeps both sums in the cache.
    def add(index: Array, sums: tuple[Array, Array]) -> tuple[Array, Array]:
        x = lax.dynamic_index_in_dim(samples, index, keepdims=False)
        x = x.astype(jnp.uint16)  # 255^2 fits
        return sums[0] + x.astype(jnp.uint32), sums[1] + (x * x).astype(jnp.uint32)

    zeros = jnp.zeros(samples.shape[1:], jnp.uint32)
    return lax.fori_loop(0, samples.shape[0], add, (zeros, zeros), unroll=8)


def scale_and_shift(
    stats: RunningStats, eps: float = EPS, *, pixels: bool
) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
    """Return what normalizes: ``x * scale + shift``; `pixels` are uint8 values."""
    scale = lax.rsqrt(stats.var + eps)
    shift = -stats.mean * scale
    return scale / _PIXEL if pixels else scale, shift


def normalize(
    x: Shaped[Array, "..."], stats: RunningStats, clip: float = CLIP, eps: float = EPS
) -> Float[Array, "..."]:
    """Return ``(x - mean) / sqrt(var + eps)``, clipped to ``+-clip``.

    Args:
        x: Values ``[..., *S]`` for statistics of shape ``S``; uint8 is divided by
            255 first.
        stats: Running statistics.
        clip: Bound of the result.
        eps: Added to the variance.

    Returns:
        float32 of `x`'s shape.
    """
    scale, shift = scale_and_shift(stats, eps, pixels=x.dtype == jnp.uint8)
    x = x.astype(jnp.float32)
    x = x * jnp.broadcast_to(scale, x.shape) + jnp.broadcast_to(shift, x.shape)
    return jnp.clip(x, -clip, clip)


def denormalize(
    x: Float[Array, "..."], stats: RunningStats, clip: float = CLIP, eps: float = EPS
) -> Float[Array, "..."]:
    """Clip `x` to ``+-clip`` and convert it to the units of the statistics."""
    scale = jnp.broadcast_to(jnp.sqrt(stats.var + eps), x.shape)
    return jnp.clip(x, -clip, clip) * scale + jnp.broadcast_to(stats.mean, x.shape)


def normalize_obs(obs: Observation, stats: dict[str, RunningStats]) -> Observation:
    """Normalize every part of an observation with leaves ``[..., *S]``."""
    return {name: normalize(jnp.asarray(obs[name]), stats[name]) for name in stats}
