"""GAE and V-trace by hand and against plain loops."""

import jax.numpy as jnp
import numpy as np

from jaxfactory.ppo.advantages import gae, vtrace


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


def slow_vtrace(
    reward, value, log_ratio, terminated, truncated, final_value, bootstrap, gamma, lam
):
    """Equation 1 of the paper, summed term by term and not recursively."""
    steps, envs = reward.shape
    rho = np.minimum(1, np.exp(log_ratio))
    target, advantage = np.zeros((2, steps, envs))

    def following(values, t, env):
        if terminated[t, env]:
            return 0.0
        if truncated[t, env]:
            return final_value[t, env]
        return values[t + 1, env] if t + 1 < steps else bootstrap[env]

    for env in range(envs):
        for start in range(steps):
            total, weight = value[start, env], 1.0
            for t in range(start, steps):
                after = following(value, t, env)
                delta = rho[t, env] * (reward[t, env] + gamma * after - value[t, env])
                total += weight * delta
                weight *= gamma * lam * rho[t, env]
                if terminated[t, env] or truncated[t, env]:
                    break
            target[start, env] = total
        for t in range(steps):
            after = following(target, t, env)
            advantage[t, env] = reward[t, env] + gamma * after - value[t, env]
    return advantage, target


def test_vtrace_by_hand():
    # rho = 1 and 1/2; delta1 = 1/2 (2 + 1/2 * 30 - 20) = -1.5;
    # delta0 = 1 + 1/2 * 20 - 10 = 1; target1 = 20 - 1.5 = 18.5;
    # target0 = 10 + 1 + 1/4 * -1.5 = 10.625;
    # advantage0 = 1 + 1/2 * 18.5 - 10 = 0.25; advantage1 = 2 + 15 - 20 = -3.
    never = column(0, 0, dtype=bool)
    advantage, target = vtrace(
        column(1, 2),
        column(10, 20),
        jnp.log(column(4, 0.5)),
        never,
        never,
        column(100, 200),
        jnp.array([30.0]),
        0.5,
        0.5,
    )
    np.testing.assert_allclose(target[:, 0], [10.625, 18.5], rtol=1e-6)
    np.testing.assert_allclose(advantage[:, 0], [0.25, -3.0], rtol=1e-6)


def test_vtrace_matches_the_slow_reference():
    rng = np.random.default_rng(1)
    shape = (20, 6)
    reward, value, log_ratio, final = rng.normal(size=(4, *shape)).astype(np.float32)
    ends = rng.integers(0, 6, shape)
    bootstrap = rng.normal(size=6).astype(np.float32)
    args = (reward, value, log_ratio, ends == 0, ends == 1, final, bootstrap)
    expected = slow_vtrace(*args, 0.99, 0.95)
    found = vtrace(*map(jnp.asarray, args), 0.99, 0.95)
    for mine, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-4)


def test_vtrace_without_lag_has_the_targets_of_gae():
    rng = np.random.default_rng(2)
    shape = (20, 6)
    reward, value, final = map(jnp.asarray, rng.normal(size=(3, *shape)))
    ends = rng.integers(0, 6, shape)
    terminated, truncated = jnp.asarray(ends == 0), jnp.asarray(ends == 1)
    rest = (terminated, truncated, final, jnp.asarray(rng.normal(size=6)), 0.99)
    _, target = vtrace(reward, value, jnp.zeros(shape), *rest, 0.9)
    np.testing.assert_allclose(target, gae(reward, value, *rest, 0.9)[1], rtol=1e-5)
