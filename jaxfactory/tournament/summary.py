"""The results of a tournament as plain data: pairs, intervals, ratings."""

import datetime
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxfactory.league import ratings
from jaxfactory.tournament.entrants import Entrant
from jaxfactory.tournament.matches import Result
from jaxfactory.tournament.options import TournamentOptions


class Pair(NamedTuple):
    """Two agents and their matches.

    Attributes:
        first: Index of an agent.
        second: Index of the other.
        results: Their matches, from the first one's point of view.
    """

    first: int
    second: int
    results: list[Result]


def most_exciting(pairs: Sequence[Pair]) -> Result | None:
    """Return the most exciting match of two agents; without any, one with the bot."""
    every = [result for pair in pairs for result in pair.results]
    return max(
        every, key=lambda one: (one.actions.shape[1], one.excitement), default=None
    )


def summary(
    options: TournamentOptions, found: Sequence[Entrant], pairs: Sequence[Pair]
) -> dict[str, Any]:
    """Return the content of tournament.json.

    Args:
        options: The command's.
        found: The agents.
        pairs: All pairs, with their matches.
    """
    scores = np.zeros((len(found), len(found)))
    for pair in pairs:
        won = sum(result.score for result in pair.results)
        scores[pair.first, pair.second] = won
        scores[pair.second, pair.first] = len(pair.results) - won
    rated = ratings.fit(scores)
    best = most_exciting(pairs)
    return {
        "scenario": options.scenario,
        "matches": options.matches,
        "deterministic": options.deterministic,
        "seed": options.seed,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "methods": {
            "interval": "Wilson score interval, 95 %, with draws as half wins",
            "rating": "Bradley-Terry, maximum likelihood with one more draw for each "
            "pair, mean 1000, 95 % intervals from the Fisher information",
        },
        "agents": [
            {
                "name": entrant.name,
                "frames_trained": entrant.frames,
                "rating": rating.value,
                "rating_low": rating.low,
                "rating_high": rating.high,
            }
            for entrant, rating in zip(found, rated, strict=True)
        ],
        "pairs": [_pair(pair, found) for pair in pairs],
        "most_exciting": best and _described(best, pairs, found),
    }


def _pair(pair: Pair, found: Sequence[Entrant]) -> dict[str, Any]:
    scores = [result.score for result in pair.results]
    low, high = ratings.wilson(sum(scores), len(scores))
    return {
        "first": found[pair.first].name,
        "second": found[pair.second].name,
        "wins": scores.count(1.0),
        "draws": scores.count(0.5),
        "losses": scores.count(0.0),
        "score": sum(scores) / len(scores),
        "score_low": low,
        "score_high": high,
        "matches": [
            {"frags": list(result.frags), "first_seat": result.first_seat}
            for result in pair.results
        ],
    }


def _described(
    best: Result, pairs: Sequence[Pair], found: Sequence[Entrant]
) -> dict[str, Any]:
    pair = next(pair for pair in pairs if any(one is best for one in pair.results))
    return {
        "first": found[pair.first].name,
        "second": found[pair.second].name,
        "frags": list(best.frags),
        "first_seat": best.first_seat,
        "lead_changes": best.excitement[0],
        "seats_shown": best.actions.shape[1],
    }
