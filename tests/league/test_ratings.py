"""Intervals and ratings against numbers worked out by hand."""

import math

import numpy as np
import pytest

from jaxfactory.league import ratings


def test_expected_scores_follow_elos_scale():
    assert ratings.expected(1000.0, 1000.0) == 0.5
    assert ratings.expected(1400.0, 1000.0) == pytest.approx(10 / 11)
    assert ratings.expected(1000.0, 1400.0) == pytest.approx(1 / 11)


def test_a_match_moves_both_ratings_by_the_surprise():
    assert ratings.updated(1000.0, 1000.0, 1.0) == (1008.0, 992.0)
    assert ratings.updated(1000.0, 1000.0, 0.5) == (1000.0, 1000.0)
    # 16 * (0 - 10 / 11)
    mine, other = ratings.updated(1400.0, 1000.0, 0.0)
    assert mine == pytest.approx(1400 - 14.5454, abs=1e-3)
    assert other == pytest.approx(1000 + 14.5454, abs=1e-3)


def test_wilsons_interval():
    # z = 1.96: (0.8 + 1.9207/10 -+ 1.96 sqrt(0.016 + 0.009604)) / 1.384146
    low, high = ratings.wilson(8.0, 10)
    assert (low, high) == pytest.approx((0.49016, 0.94332), abs=1e-4)
    assert ratings.wilson(0.0, 5)[0] == 0.0
    assert ratings.wilson(5.0, 5)[1] == 1.0
    low, high = ratings.wilson(5.0, 10)
    assert low + high == pytest.approx(1.0)


def test_two_agents_are_rated_by_their_score():
    # 29 to 9, and the added draw: 29.5 to 9.5, whose logarithm is 1.13315.
    scores = np.array([[0.0, 29.0], [9.0, 0.0]])
    one, other = ratings.fit(scores)
    difference = 400 * math.log10(29.5 / 9.5)
    assert one.value - other.value == pytest.approx(difference, abs=1e-6)
    assert one.value + other.value == pytest.approx(2000)
    # The difference has the information 39 * 0.75641 * 0.24359 = 7.18590; each rating
    # half of its deviation: 1.959964 * 0.5 / sqrt(7.18590) * 173.7178.
    assert one.high - one.value == pytest.approx(63.507, abs=1e-2)
    assert one.value - one.low == pytest.approx(63.507, abs=1e-2)


def test_an_agent_that_wins_everything_has_a_finite_rating():
    scores = np.array([[0.0, 6, 6], [0, 0, 3], [0, 3, 0]])
    best, one, other = ratings.fit(scores)
    assert best.low > one.high
    assert one.value == pytest.approx(other.value)
    # Equal opponents: 12 of 12 with two draws added is 13 to 1.
    expected = 400 * math.log10(13)
    assert best.value - one.value == pytest.approx(expected, abs=1e-3)


def test_ratings_do_not_depend_on_the_order():
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 9, (5, 5)).astype(float)
    np.fill_diagonal(scores, 0)
    order = np.array([3, 1, 4, 0, 2])
    found = [rating.value for rating in ratings.fit(scores)]
    again = [rating.value for rating in ratings.fit(scores[np.ix_(order, order)])]
    np.testing.assert_allclose(np.array(found)[order], again, atol=1e-6)
