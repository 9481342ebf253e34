"""Which policy of a population acts in which row of the pool."""

import math
from collections.abc import Iterator

import numpy as np

from jaxfactory._util.errors import UserError
from jaxfactory.league.seats import DRAWN, Seats, check_match, past_owners, share_of


def groups_for(
    num_envs: int, num_groups: int, agents: int, policies: int, share: float = 0.0
) -> int:
    """Return the number of groups of a pool that several policies share.

    Outside of matches each group belongs to one policy, so that acting for a group is
    one batch. While one policy acts, the others' environments step.

    Args:
        num_envs: Rows of the pool, a multiple of `policies`.
        num_groups: The most groups that a single policy would have.
        agents: Rows of a match, 1 outside of matches.
        policies: Number of policies.
        share: Share of the matches that have opponents from the past.

    Raises:
        UserError: If not every policy can have as many seats of whole matches.
    """
    if share:
        check_match(share, agents)
    if agents == 1:
        wanted = policies * -(-num_groups // policies)
        return wanted if num_envs % wanted == 0 else policies
    # In a match against the past, one policy has all the seats that learn.
    unit = agents * policies if share else math.lcm(agents, policies)
    if num_envs % unit:
        whole = -(-num_envs // unit) * unit
        raise UserError(
            f"--num-envs {num_envs} cannot be matches of {agents} agents in which each "
            f"of --num-policies {policies} has as many seats; it must be a multiple of "
            f"{unit}: try {whole}"
        )
    rounds = num_envs // unit
    groups = math.gcd(rounds, num_groups)
    if not 0 < share < 1 or groups < rounds:
        return groups
    # With a single round in each group, all matches would be against the past.
    if rounds == 1:
        raise UserError(
            f"--num-envs {num_envs} is one match for each policy, which "
            f"--self-play-share {share:g} makes one against past versions; try "
            f"{2 * unit}, or --self-play-share 1"
        )
    return max(fewer for fewer in range(1, groups) if groups % fewer == 0)


def policy_seats(
    num_envs: int, num_groups: int, agents: int, policies: int, share: float = 0.0
) -> Seats:
    """Return the seats of several policies, as many for each; all of theirs learn.

    In matches, policies meet each other as equally often as their number allows, and
    take turns in the first seat. In a share of the matches of each group, the first
    ones, each meets opponents from the past instead, equally often.

    Args:
        num_envs: Rows of the pool.
        num_groups: What `groups_for` returned.
        agents: Rows of a match, 1 outside of matches.
        policies: Number of policies.
        share: Share of the matches that have opponents from the past; rounded to as
            many of a group for each policy, at least one.
    """
    if agents == 1:
        owner = np.repeat(np.arange(policies), num_envs // policies)
        return Seats(owner, np.ones(num_envs, bool))
    size, groups, past = num_envs // num_groups, [], 0
    if share:
        most = size // (agents * policies)
        # Unless all are asked for, the policies meet in one round at least.
        past = policies * min(share_of(most, share), most if share == 1 else most - 1)
    for group in range(num_groups):
        groups += [
            past_owners(group * past, past, agents, policies),
            _match_owners(size - past * agents, agents, policies, group),
        ]
    owner = np.concatenate(groups)
    return Seats(owner, owner != DRAWN)


def _match_owners(size: int, agents: int, policies: int, group: int) -> np.ndarray:
    if agents != 2:
        # Each block of as many seats as policies is a rotation of all of them.
        seat = np.arange(size)
        return (seat + seat // policies + group) % policies
    pairs = _pairs(policies)
    found = []
    for number in range(size // 2):
        pair = next(pairs)
        found += pair if (number + group) % 2 == 0 else pair[::-1]
    return np.array(found, int)


def _pairs(policies: int) -> Iterator[tuple[int, int]]:
    """Yield pairs without end: all of them in turn, each policy as often as the others.

    Any multiple of as many pairs as make up whole rounds has each policy equally often:
    policies / 2 if their number is even (the circle method of round robins), else as
    many as there are policies.
    """
    while True:
        if policies % 2:
            for distance in range(1, policies // 2 + 1):
                for first in range(policies):
                    yield first, (first + distance) % policies
            continue
        others = list(range(1, policies))
        for _ in others:
            around = [0, *others]
            for first in range(policies // 2):
                yield around[first], around[-1 - first]
            others = others[1:] + others[:1]
