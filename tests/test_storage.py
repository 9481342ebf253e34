"""Both storages give the learner what was acted on."""

import jax
import numpy as np

from jaxfactory.storage import DeviceStorage, HostStorage


T, B = 3, 4


def filled(kind):
    """Play a made-up rollout of two groups; return what was put and what came out."""
    rng = np.random.default_rng(0)
    slab = {"obs": np.zeros((T + 1, B, 5, 6, 3), np.uint8)}
    storage = kind(slab)
    put = np.zeros_like(slab["obs"])
    for t in range(T + 1):
        for rows in (slice(0, 2), slice(2, 4)):
            image = rng.integers(0, 256, (2, 5, 6, 3), np.uint8)
            put[t, rows] = slab["obs"][t, rows] = image
            acted_on = storage.put(t, rows, {"image": slab["obs"][t, rows]})
            np.testing.assert_array_equal(acted_on["image"], image)
    return put, storage.finish()["image"]


def test_the_device_holds_the_rollout():
    put, found = filled(DeviceStorage)
    assert isinstance(found, jax.Array)
    np.testing.assert_array_equal(found, put)


def test_the_host_holds_the_slab():
    put, found = filled(HostStorage)
    assert isinstance(found, np.ndarray)
    np.testing.assert_array_equal(found, put)
