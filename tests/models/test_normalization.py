"""Running statistics against NumPy in float64."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxfactory.models import normalization
from jaxfactory.models.normalization import RunningStats
from jaxfactory.types import ObservationSpec


def reference(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance with the initial pseudo-sample: mean 0, variance 1, once."""
    n = len(samples)
    mean = samples.sum(0) / (n + 1)
    # The pseudo-sample's second moment is its variance, 1, about its mean, 0.
    second = ((samples**2).sum(0) + 1.0) / (n + 1)
    return mean, second - mean**2


def test_update_by_hand():
    stats = normalization.update(
        normalization.init(()), jnp.array([[1.0], [3.0]]), (0, 1)
    )
    # Samples 1 and 3 and the initial one: mean 4/3; second moment (1 + 9 + 1) / 3;
    # variance 11/3 - 16/9 = 17/9.
    np.testing.assert_allclose(stats.mean, 4 / 3, rtol=1e-6)
    np.testing.assert_allclose(stats.var, 17 / 9, rtol=1e-6)
    np.testing.assert_allclose(stats.count, 3.0)


def test_batches_merge_to_the_whole():
    samples = np.random.default_rng(0).normal(3.0, 2.0, (6, 5, 4))
    stats = normalization.init((4,))
    for part in np.split(samples, 3):
        batch = jnp.asarray(part, jnp.float32)
        stats = normalization.update(stats, batch, (0, 1))
    mean, var = reference(samples.reshape(30, 4))
    np.testing.assert_allclose(stats.mean, mean, rtol=1e-5)
    np.testing.assert_allclose(stats.var, var, rtol=1e-5)


def test_float_variance_survives_a_large_mean():
    samples = 10_000.0 + np.random.default_rng(0).normal(size=(50, 20))
    batch = jnp.asarray(samples, jnp.float32)
    stats = RunningStats(jnp.float32(10_000.0), jnp.float32(1.0), jnp.float32(1e4))
    got = normalization.update(stats, batch, (0, 1))
    expected = (1e4 * 1.0 + 1e3 * samples.var()) / 1.1e4
    np.testing.assert_allclose(got.var, expected, rtol=1e-3)


def test_pixels_match_float64():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (9, 7, 4, 5, 3), dtype=np.uint8)
    images[..., 0, 0, 0] = 200  # constant
    images[..., 0, 0, 1] = 255
    images[..., 0, 0, 2] = 200 + rng.integers(0, 2, (9, 7))  # hardly varies
    stats = normalization.pixel_moments(jnp.asarray(images.reshape(63, 4, 5, 3)))
    pixels = images.reshape(63, 4, 5, 3) / 255.0
    np.testing.assert_allclose(stats.mean, pixels.mean(0), rtol=1e-6)
    np.testing.assert_allclose(stats.var, pixels.var(0), rtol=1e-5, atol=1e-12)
    updated = normalization.update(
        normalization.init((4, 5, 3)), jnp.asarray(images), (0, 1)
    )
    mean, var = reference(pixels)
    np.testing.assert_allclose(updated.mean, mean, rtol=1e-5)
    np.testing.assert_allclose(updated.var, var, rtol=1e-5)


def test_pixel_sums_agree_between_backends():
    images = np.random.default_rng(1).integers(0, 256, (37, 3, 2), dtype=np.uint8)
    loop = jax.jit(normalization._pixel_sums_loop)(images)
    whole = jax.jit(normalization._pixel_sums_reduce)(images)
    np.testing.assert_array_equal(loop[0], whole[0])
    np.testing.assert_array_equal(loop[1], whole[1])


def test_pixels_past_the_exact_limit(monkeypatch):
    monkeypatch.setattr(normalization, "_MAX_EXACT_SAMPLES", 10)
    images = np.random.default_rng(2).integers(0, 256, (8, 4, 6), dtype=np.uint8)
    stats = normalization.update(normalization.init((6,)), jnp.asarray(images), (0, 1))
    mean, var = reference(images.reshape(32, 6) / 255.0)
    np.testing.assert_allclose(stats.mean, mean, rtol=1e-5)
    np.testing.assert_allclose(stats.var, var, rtol=1e-5)


def test_pixel_sums_do_not_overflow_at_the_limit():
    # 66,000 white pixels: 66,000 * 255^2 = 4.2917e9 < 2^32 = 4.2950e9.
    images = jnp.full((66_000, 1), 255, jnp.uint8)
    stats = normalization.pixel_moments(images)
    np.testing.assert_allclose(stats.mean, [1.0])
    np.testing.assert_allclose(stats.var, [0.0])


def test_normalize_by_hand():
    stats = RunningStats(jnp.array([1.0, 0.5]), jnp.array([4.0, 0.25]), jnp.float32(9))
    got = normalization.normalize(jnp.array([[3.0, 0.0], [100.0, -9.0]]), stats)
    # (3-1)/2 = 1; (0-0.5)/0.5 = -1; the rest is clipped.
    np.testing.assert_allclose(got, [[1.0, -1.0], [5.0, -5.0]], rtol=1e-4)


def test_normalize_divides_pixels():
    stats = RunningStats(jnp.array([0.5]), jnp.array([0.25]), jnp.float32(9))
    got = normalization.normalize(jnp.array([[255], [0]], jnp.uint8), stats)
    np.testing.assert_allclose(got, [[1.0], [-1.0]], rtol=1e-4)
    assert got.dtype == jnp.float32


def test_fresh_statistics_leave_values_alone():
    got = normalization.normalize(jnp.array([0.3, -2.0]), normalization.init((2,)))
    np.testing.assert_allclose(got, [0.3, -2.0], rtol=1e-5)


def test_denormalize_inverts():
    stats = RunningStats(jnp.float32(7.0), jnp.float32(9.0), jnp.float32(1))
    x = jnp.array([[1.0, 20.0]])
    back = normalization.denormalize(normalization.normalize(x, stats), stats)
    np.testing.assert_allclose(back, x, rtol=1e-5)
    # 9 standard deviations count as 5: 7 + 5 * 3 = 22.
    got = normalization.denormalize(jnp.array([9.0]), stats)
    np.testing.assert_allclose(got, [22.0], rtol=1e-5)


def test_init_normalizer_covers_measurements():
    got = normalization.init_normalizer(ObservationSpec((2, 3, 1), 4))
    assert got.obs["image"].mean.shape == (2, 3, 1)
    assert got.obs["measurements"].mean.shape == (4,)
    assert got.returns.mean.shape == ()
