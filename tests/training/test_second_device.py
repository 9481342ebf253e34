"""Training where the learner does not read the host's memory, as with a GPU.

The second CPU device stands in for it, with XLA's layers instead of our kernels.
"""

import contextlib

import jax
import numpy as np
import pytest
from tiny import tiny_config

from jaxfactory._util.devices import computes_in_host_memory
from jaxfactory.models import convolution
from jaxfactory.models.bfloat16 import kernels
from jaxfactory.ppo import learner
from jaxfactory.rollout import storage
from jaxfactory.training import setup
from jaxfactory.training.loop import train


pytestmark = pytest.mark.vizdoom


@pytest.fixture
def xla_only(monkeypatch):
    monkeypatch.setattr(convolution, "_targets", frozenset)
    monkeypatch.setattr(kernels, "used", lambda: False)


@contextlib.contextmanager
def default_device(number):
    # For all threads, which `jax.default_device` is not.
    before = jax.config.jax_default_device
    jax.config.update("jax_default_device", jax.devices()[number])
    try:
        yield jax.devices()[number]
    finally:
        jax.config.update("jax_default_device", before)


def test_only_the_first_device_reads_the_hosts_memory():
    assert computes_in_host_memory()
    for number in (0, 1):
        with default_device(number):
            assert computes_in_host_memory() == (number == 0)


def guarded(*args, **options):
    """Make an update that transfers nothing but what it is given, once."""
    update = learner.make_update(*args, **options)

    def call(*given):
        with jax.transfer_guard_host_to_device("disallow"):
            return update(*given)

    return call


@pytest.mark.usefixtures("xla_only")
@pytest.mark.parametrize(
    "scenario",
    ["basic", pytest.param("health_gathering_supreme", marks=pytest.mark.slow)],
)
def test_it_learns_the_same(tmp_path, monkeypatch, scenario):
    # Rollouts in each buffer twice, and episodes that are truncated.
    config = tiny_config(scenario, updates=4, env={"timeout": 30})
    expected = train(config, tmp_path / "first")
    monkeypatch.setattr(setup, "make_update", guarded)
    made = []
    make = storage.DeviceStorage
    monkeypatch.setattr(
        storage, "DeviceStorage", lambda slab: made.append(slab) or make(slab)
    )
    with default_device(1) as device:
        got = train(config, tmp_path / "second")
    # One buffer for each of the pool's slabs, and not one for each rollout.
    assert len(made) == 2
    for one, other in zip(
        jax.tree.leaves(got.params), jax.tree.leaves(expected.params), strict=True
    ):
        assert one.devices() == {device}
        np.testing.assert_array_equal(one, other)


@pytest.mark.usefixtures("xla_only")
def test_it_trains_in_async_mode(tmp_path):
    config = tiny_config("basic", updates=4, mode="async")
    with default_device(1) as device:
        state = train(config, tmp_path / "run")
    assert int(state.step) == 4
    for leaf in jax.tree.leaves(state.params):
        assert leaf.devices() == {device}
        assert np.isfinite(leaf).all()
