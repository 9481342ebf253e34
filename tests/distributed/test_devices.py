"""Several devices compute what one device does: rollouts, updates, training runs."""

import dataclasses

import jax
import numpy as np
import pytest
from updates import NETWORK, PPO, make_rollout, make_state, play

from jaxfactory.distributed.devices import ONE_DEVICE
from jaxfactory.distributed.many_devices import ManyDevices
from jaxfactory.ppo.learner import make_update


def two_devices(num_groups=1):
    return ManyDevices(2, num_groups)


def assert_close(one, other, tolerance=1e-5):
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(
            np.asarray(a, np.float64), np.asarray(b, np.float64), tolerance, tolerance
        )


@pytest.mark.parametrize(
    ("changes", "off_policy", "num_groups"),
    [
        ({}, True, 3),
        ({"num_minibatches": 3, "balance_coef": 0.1, "kl_coef": 0.1}, False, 3),
        ({"return_memory": 100, "advantage_floor": 0.5, "kl_target": 1e-4}, True, 1),
    ],
)
def test_an_update_is_the_same(changes, off_policy, num_groups):
    config = dataclasses.replace(PPO, **changes)
    results = []
    for where in (ONE_DEVICE, two_devices(num_groups)):
        state = make_state(config)
        update = make_update(
            NETWORK, config, off_policy=off_policy, devices=where, total_frames=1000
        )
        all_metrics = []
        for seed in range(2):
            rollout, _ = play(state, make_rollout(seed))
            state, metrics = update(state, rollout)
            all_metrics.append(metrics)
        kept = (state.params, state.opt_state, state.normalizer, all_metrics)
        results.append((*kept, state.step, state.frames))
    assert_close(*results)
    assert results[0][-1] == 48  # 2 rollouts of 4 steps of 6 environments
