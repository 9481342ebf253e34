"""The asynchronous sampler: its lag, its hand-over, its ends; then on the real pool."""

import threading
import time

import jax
import numpy as np
import pytest
from tiny import tiny_config

from jaxfactory._util.errors import UserError
from jaxfactory.config.train import Config
from jaxfactory.metrics.timers import Stopwatch
from jaxfactory.models.normalization import Normalizer, init
from jaxfactory.ppo.learner import TrainState
from jaxfactory.rollout.async_sampler import AsyncSampler, JustInTime
from jaxfactory.rollout.collector import CollectedRollout, RolloutCollector
from jaxfactory.training.loop import train
from jaxfactory.types import Rollout


STEPS = 4


class FakeCollector(RolloutCollector):
    """Collects rollouts of versions alone, as fast as it may."""

    def __init__(self, fails_at=None):
        self.timer = Stopwatch()
        self.begun = []
        self.fails_at = fails_at

    def begin(self):
        pass

    def collect(self, number, newest):
        if number == self.fails_at:
            raise RuntimeError("the engine is gone")
        self.begun.append(number)
        versions = [newest().version for _ in range(STEPS)]
        nothing = dict.fromkeys(Rollout._fields)
        rollout = Rollout(**nothing | {"policy_version": np.array(versions)[:, None]})
        return CollectedRollout(rollout, [], {"number": float(number)})


def state(version):
    nothing = dict.fromkeys(TrainState._fields)
    return TrainState(**nothing | {"step": jax.numpy.int32(version)})


@pytest.mark.parametrize("max_lag", [1, 3])
def test_it_stays_within_its_bounds(max_lag):
    collector = FakeCollector()
    with AsyncSampler(collector, max_lag, 1) as sampler:
        for version in range(20):
            rollout = sampler.collect(state(version))
            assert sampler.metrics()["number"] == version
            assert (version - rollout.policy_version <= max_lag).all()
            assert (rollout.policy_version <= version).all()
            assert max(collector.begun) <= version + max_lag
            # Rollouts that lie waiting are begun later, but not after they are due.
            _wait_until(lambda v=version: max(collector.begun) > v)


def test_it_runs_ahead_as_far_as_it_may():
    collector = FakeCollector()
    with AsyncSampler(collector, 3, 1) as sampler:
        sampler.collect(state(0))
        _wait_until(lambda: collector.begun == [0, 1, 2, 3])


def test_it_plays_with_what_an_update_has_made_so_far():
    """A rollout that would lie waiting is begun in the midst of the update."""
    collector = FakeCollector()
    nothing = Normalizer(obs={}, returns=init(()))
    with AsyncSampler(collector, 1, 4) as sampler:
        for version in range(20):
            sampler.collect(state(version))
            for done in (1, 2, 3):
                time.sleep(0.01)
                sampler.publish({}, nothing, done / 4)
            time.sleep(0.01)
        lag = sampler.metrics()["policy_lag/max"]
    assert lag == 0.25


def test_the_delay_follows_what_is_left_over():
    pacing = JustInTime(0.75)
    assert pacing.delay == 0
    # Ready 0.45 of an iteration early, of which 0.05 are to spare: half of 0.4.
    pacing.learn(idle=0.45, waited=0.0, period=1.0)
    np.testing.assert_allclose(pacing.delay, 0.2)
    for _ in range(10):
        pacing.learn(idle=0.45, waited=0.0, period=1.0)
    assert pacing.delay == 0.75
    pacing.learn(idle=0.0, waited=0.25, period=1.0)
    np.testing.assert_allclose(pacing.delay, 0.6)
    for _ in range(10):
        pacing.learn(idle=0.0, waited=0.25, period=1.0)
    assert pacing.delay == 0


def test_a_resumed_run_counts_on():
    with AsyncSampler(FakeCollector(), 1, 1) as sampler:
        sampler.collect(state(7))
        assert sampler.metrics()["number"] == 7


def test_what_fails_on_the_thread_is_raised_by_collect():
    with AsyncSampler(FakeCollector(fails_at=2), 1, 1) as sampler:
        sampler.collect(state(0))
        sampler.collect(state(1))
        with pytest.raises(RuntimeError, match="the engine is gone"):
            sampler.collect(state(2))
    assert not _sampling()


def test_leaving_ends_the_thread():
    with AsyncSampler(FakeCollector(), 1, 1) as sampler:
        sampler.collect(state(0))
        assert _sampling()
    assert not _sampling()


def test_leaving_before_the_first_rollout():
    with AsyncSampler(FakeCollector(), 1, 1):
        pass


def test_one_thread_cannot_be_two():
    with pytest.raises(UserError, match="--serial"):
        Config(mode="async", serial=True)


@pytest.mark.vizdoom
@pytest.mark.parametrize(
    "advantages", [pytest.param("gae", marks=pytest.mark.slow), "vtrace"]
)
def test_trains_on_the_real_pool(tmp_path, advantages):
    config = tiny_config(
        updates=6, env={"timeout": 30}, ppo={"advantages": advantages}, mode="async"
    )
    seen = []

    class Writer:
        def begin(self, frames):
            pass

        def write(self, metrics, frames):
            seen.append(metrics)

        def close(self):
            pass

    trained = train(config, tmp_path / "run", writer=Writer())
    assert int(trained.step) == 6
    assert len(seen) == 6
    assert all(metrics["policy_lag/max"] <= 1 for metrics in seen)
    for metrics in seen[1:]:
        for phase in ("engine_wait", "act", "policy_wait", "handover_wait", "update"):
            assert np.isfinite(metrics[f"time/{phase}"]), phase
        assert np.isfinite(metrics["losses/loss"])
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(trained.params))
    assert not _sampling()


def _sampling():
    return [t for t in threading.enumerate() if t.name == "sampler"]


def _wait_until(condition):
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)
