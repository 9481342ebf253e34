"""GAE by hand and against a plain loop."""

import jax.numpy as jnp
import numpy as np

from jaxfactory.advantages import gae


def slow_gae(reward, value, terminated, truncated, final_value, bootstrap, gamma, lam):
    """The definition, one environment and one step at a time, in float64."""
    steps, envs = reward.shape
    advantage = np.zeros((steps, envs))
    for env in range(envs):
        tail = 0.0
        for t in reversed(range(steps)):
            after = value[t + 1, env] if t + 1 < steps else bootstrap[env]
            if truncated[t, env]:
                after, tail = final_value[t, env], 0.0
            if terminated[t, env]:
                after, tail = 0.0, 0.0
            tail = reward[t, env] + gamma * after - value[t, env] + gamma * lam * tail
            advantage[t, env] = tail
    return advantage


def column(*values, dtype=jnp.float32):
    return jnp.array(values, dtype)[:, None]


def run(terminated=(0, 0), truncated=(0, 0)):
    advantage, target = gae(
        column(1, 2),
        column(10, 20),
        column(*terminated, dtype=bool),
        column(*truncated, dtype=bool),
        column(100, 200),
        jnp.array([30.0]),
        0.5,
        0.5,
    )
    np.testing.assert_allclose(target, advantage + column(10, 20))
    return advantage[:, 0]


def test_episode_goes_on():
    # delta1 = 2 + 0.5 * 30 - 20 = -3; delta0 = 1 + 0.5 * 20 - 10 = 1;
    # advantage0 = 1 + 0.25 * -3 = 0.25
    np.testing.assert_allclose(run(), [0.25, -3.0])


def test_terminated_bootstraps_zero_and_cuts():
    # delta0 = 1 - 10 = -9, without what follows.
    np.testing.assert_allclose(run(terminated=(1, 0)), [-9.0, -3.0])


def test_truncated_bootstraps_final_value_and_cuts():
    # delta0 = 1 + 0.5 * 100 - 10 = 41; last step: 2 + 0.5 * 200 - 20 = 82.
    np.testing.assert_allclose(run(truncated=(1, 0)), [41.0, -3.0])
    # advantage0 = 1 + 0.25 * 82 = 21.5
    np.testing.assert_allclose(run(truncated=(0, 1)), [21.5, 82.0])


def test_terminated_wins_over_truncated():
    np.testing.assert_allclose(run(terminated=(1, 0), truncated=(1, 0)), [-9.0, -3.0])


def test_matches_the_slow_reference():
    rng = np.random.default_rng(0)
    shape = (40, 6)
    reward, value, final = rng.normal(size=(3, *shape)).astype(np.float32)
    ends = rng.integers(0, 10, shape)
    bootstrap = rng.normal(size=6).astype(np.float32)
    args = (reward, value, ends == 0, ends == 1, final, bootstrap)
    expected = slow_gae(*args, 0.99, 0.95)
    advantage, _ = gae(*map(jnp.asarray, args), 0.99, 0.95)
    np.testing.assert_allclose(advantage, expected, rtol=1e-4, atol=1e-4)
