"""Ratings and intervals from the results of matches.

A draw counts as half a win for both. Ratings are on Elo's scale: a difference of 400
means that the stronger one is expected to score 10 to 1.
"""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float


# The mean of all ratings of a tournament, and a training run's first rating.
BASE = 1000.0
_SCALE = 400.0
# The 97.5 % quantile of the normal distribution: intervals cover 95 %.
_Z = 1.959964
# Points that a training match moves both ratings by at most. Matches are few and long,
# and the learner changes: after 16 matches without a draw, a rating can have moved by
# 256, which is a win rate of 81 %.
_STEP = 16.0
_ITERATIONS = 100


class Rating(NamedTuple):
    """A rating with the bounds of its 95 % interval."""

    value: float
    low: float
    high: float


def expected(rating: float, other: float) -> float:
    """Return the expected score against an opponent, from 0 to 1.

    >>> round(expected(1400.0, 1000.0), 3)
    0.909
    """
    return 1.0 / (1.0 + 10.0 ** ((other - rating) / _SCALE))


def updated(rating: float, other: float, score: float) -> tuple[float, float]:
    """Return both ratings after a match (Elo, "The Rating of Chessplayers", 1978).

    Args:
        rating: Of the one that scored.
        other: Its opponent's.
        score: 1 for a win, 0.5 for a draw, 0 for a loss, or a mean of several.
    """
    change = _STEP * (score - expected(rating, other))
    return rating + change, other - change


def wilson(score: float, matches: int) -> tuple[float, float]:
    """Return the 95 % interval of a score rate.

    Wilson's score interval for a proportion (JASA 22, 1927). With draws, the variance
    of a match is smaller than it assumes, so it is rather too wide.

    Args:
        score: Wins plus half of the draws.
        matches: Number of matches, at least 1.
    """
    rate, extra = score / matches, _Z**2 / matches
    center = (rate + extra / 2) / (1 + extra)
    spread = _Z * math.sqrt(rate * (1 - rate) / matches + extra / (4 * matches))
    spread /= 1 + extra
    return max(0.0, center - spread), min(1.0, center + spread)


def fit(scores: Float[np.ndarray, "N N"]) -> list[Rating]:
    """Return the maximum likelihood ratings of a tournament, with mean `BASE`.

    The model is that of Bradley and Terry (Biometrika 39, 1952). Each pair that met is
    given one more draw: without it, whoever wins all matches has no finite rating.
    Intervals are those of the normal approximation, from the inverse of the Fisher
    information, with the ratings' mean fixed.

    Args:
        scores: ``scores[i, j]`` is what i scored against j: wins plus half the draws.
    """
    met = (scores + scores.T) > 0
    scores = scores + 0.5 * met
    matches = scores + scores.T
    strength = np.zeros(len(scores))
    for _ in range(_ITERATIONS):
        chance = 1.0 / (1.0 + np.exp(strength[None] - strength[:, None]))
        information = matches * chance * (1 - chance)
        hessian = np.diag(information.sum(1)) - information
        gradient = (scores - matches * chance).sum(1)
        # The likelihood does not depend on the mean, which the pseudo-inverse keeps.
        step = np.linalg.pinv(hessian) @ gradient
        # A full Newton step from a point far away may go too far.
        strength += np.clip(step, -1.0, 1.0)
        if np.abs(step).max() < 1e-10:
            break
    strength -= strength.mean()
    spread = _Z * np.sqrt(np.maximum(np.diag(np.linalg.pinv(hessian)), 0.0))
    unit = _SCALE / math.log(10.0)
    return [
        Rating(BASE + unit * x, BASE + unit * (x - s), BASE + unit * (x + s))
        for x, s in zip(strength.tolist(), spread.tolist(), strict=True)
    ]
