"""Categorical heads against numbers worked out by hand."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxfactory.models import categorical, distributions
from jaxfactory.spec import ActionSpec


LOG3 = math.log(3.0)
# Head 1 has probabilities (3/4, 1/4), head 2 is uniform over three.
LOGITS = jnp.array([LOG3, 0.0, 1.0, 1.0, 1.0])
HEADS = (2, 3)


def test_log_prob_is_the_sum_over_heads():
    got = categorical.log_prob(LOGITS, jnp.array([1, 2], jnp.int32), HEADS)
    # 1/4 * 1/3 = 1/12
    np.testing.assert_allclose(got, math.log(1 / 12), rtol=1e-6)


def test_log_prob_keeps_leading_axes():
    logits = jnp.broadcast_to(LOGITS, (4, 2, 5))
    action = jnp.zeros((4, 2, 2), jnp.int32).at[3, 1, 0].set(1)
    got = categorical.log_prob(logits, action, HEADS)
    expected = np.full((4, 2), math.log(3 / 4 / 3))
    expected[3, 1] = math.log(1 / 4 / 3)
    np.testing.assert_allclose(got, expected, rtol=1e-6)


def test_entropy():
    # -(3/4 log 3/4 + 1/4 log 1/4) = log 4 - 3/4 log 3 = 0.562335; log 3 = 1.098612
    got = categorical.entropy(LOGITS, HEADS)
    np.testing.assert_allclose(got, 0.562335 + 1.098612, rtol=1e-5)


def test_symmetric_kl_to_uniform():
    # KL(p||u) = log 2 - H(p) = 0.693147 - 0.562335 = 0.130812
    # KL(u||p) = 1/2 log(2/3) + 1/2 log 2 = 0.143841; half their sum 0.137327.
    # The second head is uniform and adds nothing.
    got = categorical.symmetric_kl_to_uniform(LOGITS, HEADS)
    np.testing.assert_allclose(got, 0.137327, rtol=1e-5)


def test_symmetric_kl_is_not_capped():
    # p = (1, e^-100): 1/2 [(1 - 1/2) log 2 + (0 - 1/2)(-100 + log 2)]
    # = 1/2 [0.346574 + 49.653426] = 25 ; with -400 it is 100.
    got = categorical.symmetric_kl_to_uniform(jnp.array([0.0, -400.0]), (2,))
    np.testing.assert_allclose(got, 100.0, rtol=1e-5)


def test_mode():
    got = categorical.mode(jnp.array([[0.0, 1.0, 0.0, 0.0, 2.0]]), HEADS)
    np.testing.assert_array_equal(got, [[1, 2]])
    assert got.dtype == jnp.int32


def test_sample_follows_the_probabilities():
    logits = jnp.broadcast_to(LOGITS, (20_000, 5))
    got = categorical.sample(jax.random.key(0), logits, HEADS)
    assert got.shape == (20_000, 2)
    assert got.dtype == jnp.int32
    # One standard deviation is 0.003.
    np.testing.assert_allclose((got[:, 0] == 0).mean(), 0.75, atol=0.015)
    np.testing.assert_allclose((got[:, 1] == 2).mean(), 1 / 3, atol=0.015)
    # Independent: the joint share of (0, 2) is 1/4.
    both = (got[:, 0] == 0) & (got[:, 1] == 2)
    np.testing.assert_allclose(both.mean(), 0.25, atol=0.015)


def test_log_prob_gradient():
    # d log p(1) / d logits = onehot(1) - p = (-3/4, 3/4); uniform: onehot - 1/3.
    grad = jax.grad(categorical.log_prob)(LOGITS, jnp.array([1, 0]), HEADS)
    expected = [-0.75, 0.75, 2 / 3, -1 / 3, -1 / 3]
    np.testing.assert_allclose(grad, expected, rtol=1e-6)


def test_wrong_number_of_logits_is_an_error():
    with pytest.raises(ValueError, match=r"4 entries.*\(2, 3\).*need 5"):
        categorical.mode(jnp.zeros(4), HEADS)


# One head of probabilities (3/4, 1/4); two numbers of means 1 and -2, of standard
# deviations 1 and e.
MIXED = distributions.Mixed((2,), 2)
PARAMETERS = jnp.array([LOG3, 0.0, 1.0, -2.0, 0.0, 1.0])
LOG_SQRT_2PI = 0.918939


def test_make_asks_what_the_actions_are():
    assert distributions.make(ActionSpec((2, 3))) == distributions.Categorical((2, 3))
    assert distributions.make(ActionSpec((2,), continuous=2)) == MIXED


def test_the_categorical_object_is_the_functions():
    policy = distributions.Categorical(HEADS)
    key, action = jax.random.key(3), jnp.array([1, 2], jnp.int32)
    np.testing.assert_array_equal(
        policy.sample(key, LOGITS), categorical.sample(key, LOGITS, HEADS)
    )
    np.testing.assert_array_equal(policy.mode(LOGITS), [0, 0])
    np.testing.assert_allclose(policy.log_prob(LOGITS, action), math.log(1 / 12))
    np.testing.assert_allclose(policy.entropy(LOGITS), 1.660947, rtol=1e-5)
    np.testing.assert_allclose(
        policy.exploration_penalty(LOGITS, 30.0), 0.137327, rtol=1e-5
    )
    np.testing.assert_allclose(policy.exploration_penalty(LOGITS, 0.1), 0.1, rtol=1e-6)


def test_balance_is_the_entropy_of_the_mean():
    # Two certain choices that differ: the mean is (1/2, 1/2), of log 2; the second head
    # is uniform, of log 3.
    one = jnp.array([50.0, 0.0, 1.0, 1.0, 1.0])
    other = jnp.array([0.0, 50.0, 1.0, 1.0, 1.0])
    policy = distributions.Categorical(HEADS)
    got = policy.balance(jnp.stack([one, other])[:, None])
    np.testing.assert_allclose(got, math.log(2) + LOG3, rtol=1e-5)
    # The same choice everywhere: only the second head's.
    same = jnp.stack([one, one])
    np.testing.assert_allclose(policy.balance(same), LOG3, rtol=1e-5)
    assert np.isfinite(jax.grad(policy.balance)(same)).all()
    # Numbers add nothing.
    np.testing.assert_allclose(MIXED.balance(PARAMETERS[None]), 0.562335, rtol=1e-5)
    assert distributions.Mixed((), 2).balance(PARAMETERS[None, 2:]) == 0


def test_log_density_of_a_mixed_action():
    # log 1/4, then at its mean -0.918939, and 2 = 2/e standard deviations away:
    # -0.5 x (2/e)^2 - 1 - 0.918939 = -2.189610
    action = jnp.array([1.0, 1.0, 0.0])
    expected = math.log(1 / 4) - LOG_SQRT_2PI - 0.270671 - 1.0 - LOG_SQRT_2PI
    got = MIXED.log_prob(PARAMETERS, action)
    np.testing.assert_allclose(got, expected, rtol=1e-5)
    # Numbers alone.
    alone = distributions.Mixed((), 2).log_prob(PARAMETERS[2:], action[1:])
    np.testing.assert_allclose(alone, expected - math.log(1 / 4), rtol=1e-5)


def test_entropy_and_exploration_penalty_of_a_mixed_action():
    # A Gaussian's is log sigma + 0.5 + 0.918939: 1.418939 and 2.418939; the head's is
    # 0.562335, its divergence from uniform 0.137327.
    np.testing.assert_allclose(MIXED.entropy(PARAMETERS), 4.400213, rtol=1e-5)
    got = MIXED.exploration_penalty(PARAMETERS, 30.0)
    np.testing.assert_allclose(got, 0.137327 - 3.837878, rtol=1e-5)


def test_sampling_a_mixed_action():
    many = jnp.broadcast_to(PARAMETERS, (20_000, 6))
    action = np.asarray(MIXED.sample(jax.random.key(0), many))
    assert action.dtype == np.float32
    # Means with their standard errors below 0.02.
    np.testing.assert_allclose(action.mean(0), [0.25, 1.0, -2.0], atol=0.06)
    np.testing.assert_allclose(action[:, 1:].std(0), [1.0, math.e], atol=0.06)
    np.testing.assert_array_equal(MIXED.mode(PARAMETERS), [0.0, 1.0, -2.0])


def test_standard_deviations_stay_within_bounds():
    wild = jnp.array([0.0, 0.0, 0.0, 0.0, 50.0, -50.0])
    expected = 0.693147 + 2 * (0.5 + LOG_SQRT_2PI) + 2.0 - 5.0
    np.testing.assert_allclose(MIXED.entropy(wild), expected, rtol=1e-5)


def test_parameters_that_do_not_fit():
    with pytest.raises(ValueError, match="5 parameters do not fit"):
        MIXED.entropy(PARAMETERS[:5])
