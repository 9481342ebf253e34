"""The matches of two agents: as many from each seat, in parallel.

Each round starts new engines with new seeds, so that every match is the first one of
its engines and can be replayed. Which matches count is fixed in advance; those that an
engine's failure cut short are repeated.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Int

from jaxfactory._util.errors import UserError
from jaxfactory.checkpoints.policy import TrainedPolicy
from jaxfactory.config.env import EnvConfig
from jaxfactory.league.seats import Seats
from jaxfactory.rollout.policy import Act
from jaxfactory.types import Carry


# Rounds with failed engines in a row, after which the tournament ends.
_MOST_FAILURES = 3
# In a match against the bot, the agent hosts the game.
_BOT_FRAGS = "PLAYER2_FRAGCOUNT"


class Result(NamedTuple):
    """One match.

    Attributes:
        frags: Of the first and the second agent of the pair.
        first_seat: Seat of the first agent, 0 or 1; seat 0 hosts the game.
        excitement: Changes of the lead, and then kills; see `excitement`.
        seed: Seed of its engines.
        length: Tics.
        actions: Of the seats, ``[N, seats, heads]``.
        raw_return: Raw return in seat 0.
    """

    frags: tuple[int, int]
    first_seat: int
    excitement: tuple[int, int, int]
    seed: int
    length: int
    actions: Int[np.ndarray, "N seats heads"]
    raw_return: float

    @property
    def score(self) -> float:
        """What the first agent scored: 1 for a win, 0.5 for a draw."""
        mine, theirs = self.frags
        return 0.5 if mine == theirs else float(mine > theirs)


class Side(NamedTuple):
    """An agent that acts in a pair's matches.

    Attributes:
        policy: Its policy.
        act: What its ``make_act`` returned.
    """

    policy: TrainedPolicy
    act: Act


def excitement(frags: Int[np.ndarray, "N 2"]) -> tuple[int, int, int]:
    """Return how exciting a match was, to be compared as a tuple.

    Changes of the lead count most, then how often anyone scored, then how close the
    result was.

    Args:
        frags: Of both players, after each step.
    """
    lead = np.sign(frags[:, 0] - frags[:, 1])
    leads = lead[lead != 0]
    changes = int(np.count_nonzero(np.diff(leads)))
    kills = int(np.maximum(np.diff(frags, axis=0), 0).sum()) if len(frags) > 1 else 0
    return changes, kills, -abs(int(frags[-1, 0] - frags[-1, 1]))


def pair_seats(num_matches: int) -> Seats:
    """Return the seats of two agents, 0 and 1, in an even number of matches.

    Agent 0 has the first seat in the first half of the matches, the second in the rest.
    """
    half = num_matches // 2
    owner = np.array([0, 1] * half + [1, 0] * half)
    return Seats(owner, np.zeros(len(owner), bool))


def parallel_matches(matches: int, num_envs: int) -> int:
    """Return how many matches run at once: an even number, in rounds of equal size."""
    most = max(2, num_envs // 2 // 2 * 2)
    rounds = -(-matches // most)
    return 2 * -(-matches // (2 * rounds))


def match_env(env: EnvConfig, num_matches: int, *, bot: bool) -> EnvConfig:
    """Return settings for matches of two agents, or of one and the bot."""
    agents = 1 if bot else 2
    return dataclasses.replace(
        env,
        num_envs=agents * num_matches,
        num_groups=1,
        num_agents=agents,
        num_bots=1 if bot else env.num_bots,
    )


def pool_options(*, bot: bool) -> dict[str, Any]:
    """Return the pool's options that a pair's matches need."""
    return {"variables": [_BOT_FRAGS]} if bot else {}


def play(
    pool: Any, sides: Sequence[Side], matches: int, entropy: Sequence[int]
) -> Iterator[Result]:
    """Run the matches of a pair and yield each as its round ends.

    Args:
        pool: Of `match_env`; an even number of matches.
        sides: The two agents, or the one that plays the bot.
        matches: How many count, an even number: half from each seat.
        entropy: Seeds engines and actions; other numbers for other pairs.

    Raises:
        UserError: If engines keep failing.
    """
    agents = len(sides)
    count = pool.num_envs // agents
    # Against the bot, the agent always hosts.
    seats = (
        pair_seats(count)
        if agents == 2
        else Seats(np.zeros(count, int), np.zeros(count, bool))
    )
    wanted = {0: matches // 2, 1: matches // 2} if agents == 2 else {0: matches}
    rng = np.random.default_rng(list(entropy))
    failures = 0
    while any(wanted.values()):
        seeds = rng.integers(0, 2**32, count)
        key = jax.random.key(int(rng.integers(0, 2**31)))
        results = _round(pool, sides, seats, seeds, key)
        failures = failures + 1 if None in results else 0
        if failures > _MOST_FAILURES:
            raise UserError(
                f"engines failed in {failures} rounds of matches in a row; use fewer "
                "--num-envs, and see docs/troubleshooting.md"
            )
        for result in results:
            if result is not None and wanted[result.first_seat]:
                wanted[result.first_seat] -= 1
                yield result


def _round(
    pool: Any, sides: Sequence[Side], seats: Seats, seeds: np.ndarray, key: Any
) -> list[Result | None]:
    """Run one match in each place; None where an engine failed."""
    agents, count = len(sides), len(seeds)
    step = pool.reset([int(seed) for seed in seeds for _ in range(agents)])
    rows = [seats.rows(side) for side in range(agents)]
    carries: list[Carry] = [
        side.policy.network.initial_carry(len(at)) for side, at in zip(sides, rows)
    ]
    heads = len(pool.spec.action.heads)
    results: list[Result | None] = [None] * count
    running = np.ones(count, bool)
    taken, frags = [], []
    while running.any():
        obs, is_first = step.observation, step.is_first
        action = np.zeros((pool.num_envs, heads), np.int32)
        for side, (player, at) in enumerate(zip(sides, rows, strict=True)):
            part = {name: leaf[at] for name, leaf in obs.items()}
            chosen, _, _, carries[side] = player.act(
                player.policy.params,
                player.policy.normalizer,
                part,
                carries[side],
                is_first[at],
                key,
                np.uint32(len(taken) * agents + side),
            )
            action[at] = np.asarray(chosen)
        step = pool.step(action)
        taken.append(action.reshape(count, agents, heads))
        frags.append(_frags(step, agents))
        ended = (step.terminated | step.truncated).reshape(count, agents)[:, 0]
        for match in np.flatnonzero(ended & running):
            running[match] = False
            first = int(match) * agents
            if step.info.restarted[first : first + agents].any():
                continue
            course = np.stack([row[match] for row in frags])
            seat = int(rows[0][match] - first) if agents == 2 else 0
            results[match] = Result(
                frags=(int(course[-1, seat]), int(course[-1, 1 - seat])),
                first_seat=seat,
                excitement=excitement(course),
                seed=int(seeds[match]),
                length=int(step.info.episode_length[first]),
                actions=np.stack([row[match] for row in taken]),
                raw_return=float(step.info.episode_raw_return[first]),
            )
    return results


def _frags(step: Any, agents: int) -> np.ndarray:
    """Return the frags of both players of each match, ``[matches, 2]``."""
    frags = step.info.frags.astype(int)
    if agents == 2:
        return frags.reshape(-1, 2)
    return np.stack([frags, step.info.game_variables[:, 0].astype(int)], 1)
