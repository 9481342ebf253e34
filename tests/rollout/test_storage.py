"""Both storages give the learner what was acted on."""

import jax
import numpy as np

from jaxfactory.rollout.storage import DeviceStorage, HostStorage, observations


T, B = 3, 4


def filled(kind):
    """Play a made-up rollout of two groups; return what was put and what came out."""
    rng = np.random.default_rng(0)
    slab = {
        "obs": np.zeros((T + 1, B, 5, 6, 3), np.uint8),
        "measurements": np.zeros((T + 1, B, 2), np.float32),
    }
    storage = kind(slab)
    put = {
        "image": np.zeros_like(slab["obs"]),
        "measurements": np.zeros_like(slab["measurements"]),
    }
    for t in range(T + 1):
        for rows in (slice(0, 2), slice(2, 4)):
            slab["obs"][t, rows] = rng.integers(0, 256, (2, 5, 6, 3), np.uint8)
            slab["measurements"][t, rows] = rng.random((2, 2))
            given = {name: x[t, rows] for name, x in observations(slab).items()}
            acted_on = storage.put(t, rows, given)
            for name, part in given.items():
                put[name][t, rows] = part
                np.testing.assert_array_equal(acted_on[name], part)
    return put, storage.finish()


def test_the_device_holds_the_rollout():
    put, found = filled(DeviceStorage)
    for name, wanted in put.items():
        assert isinstance(found[name], jax.Array)
        np.testing.assert_array_equal(found[name], wanted)


def test_the_host_holds_the_slab():
    put, found = filled(HostStorage)
    for name, wanted in put.items():
        assert isinstance(found[name], np.ndarray)
        np.testing.assert_array_equal(found[name], wanted)


def test_no_measurements_are_no_part_of_an_observation():
    image = np.zeros((T + 1, B, 5, 6, 3), np.uint8)
    none = np.zeros((T + 1, B, 0), np.float32)
    assert list(observations({"obs": image, "measurements": none})) == ["image"]
