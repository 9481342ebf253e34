"""The settings that the policies of a population have of their own."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from jaxfactory._util.errors import UserError
from jaxfactory.config.agents.population import OWN, REWARD_WEIGHTS, PopulationConfig
from jaxfactory.config.train import Config
from jaxfactory.league.seats import Seats
from jaxfactory.population.history import Event, History, last_values
from jaxfactory.population.selection import Values, mutated
from jaxfactory.scenarios import shaping
from jaxfactory.training.population.members import Member
from jaxfactory.training.population.spread import Spread


# A reward weight's name among a policy's settings; the rest names the row.
WEIGHT = "reward_weight/"


# From the number of a policy and its settings.
Weigh = Callable[[int, Values], None]


def weight_names(config: Config, environment: Any) -> tuple[str, ...]:
    """Return the names of the reward weights that mutate; () if none are to.

    Raises:
        UserError: If they are to, and the scenario has no shaping table.
    """
    options = config.population
    if not options.pbt or REWARD_WEIGHTS not in options.pbt_settings:
        return ()
    table = _table(environment)
    if not table:
        raise UserError(
            f"--pbt-settings reward_weights needs a shaping table, and "
            f"{config.env.scenario} has none; leave it out"
        )
    return shaping.names(table)


def make_weigh(environment: Any, pool: Any, seats: Seats) -> Weigh:
    """Return the function that gives the rows of a policy its reward weights.

    Call it while no group is stepping.

    Args:
        environment: What `family.resolve` returned.
        pool: Its pool.
        seats: Who acts in which row.
    """
    table = _table(environment)

    def weigh(policy: int, values: Values) -> None:
        factors = {
            name.removeprefix(WEIGHT): value
            for name, value in values.items()
            if name.startswith(WEIGHT)
        }
        for row in seats.rows(policy).tolist() if factors else ():
            pool.weigh_shaping(row, shaping.weights(table, factors))

    return weigh


def _table(environment: Any) -> shaping.Table:
    """Return a scenario's shaping table; () if it has none, or a function."""
    found = getattr(getattr(environment, "scenario", None), "shaping", ())
    return () if callable(found) else found


def mutable(options: PopulationConfig, names: Sequence[str]) -> list[str]:
    """Return the names of the settings that mutate.

    Args:
        options: Those of the population.
        names: Of all settings that a policy has of its own.
    """
    chosen = options.pbt_settings
    weights = REWARD_WEIGHTS in chosen
    return [
        name for name in names
        if name in chosen or (weights and name.startswith(WEIGHT))
    ]  # fmt: skip


def first_values(config: Config, number: int, weights: Sequence[str]) -> Values:
    """Return the settings that a policy begins with.

    With population-based training, all policies but 0 begin with mutated ones, except
    for those that are given to each policy.

    Args:
        config: Settings of the population.
        number: The policy's.
        weights: Names of the rows of the scenario's shaping table.
    """
    options = config.population
    given = {name: own[number] for name, own in options.first_values().items()}
    values = {name: float(getattr(config.ppo, name)) for name in OWN} | given
    values |= {f"{WEIGHT}{name}": 1.0 for name in weights}
    if not options.pbt or not number:
        return values
    names = [name for name in mutable(options, list(values)) if name not in given]
    rng = np.random.default_rng([config.seed, 0, number])
    return mutated(options, values, names, rng)


def begin(
    config: Config,
    members: Sequence[Member],
    history: History,
    frames: int,
    weights: Sequence[str],
    spread: Spread,
) -> None:
    """Give the policies their settings: those of the last event, or the first ones.

    Args:
        config: Settings of the population.
        members: The policies.
        history: Their events, which process 0 reads and writes.
        frames: Frames of the checkpoint that is resumed; 0 in a new run.
        weights: Names of the rows of the scenario's shaping table.
        spread: The processes.

    Raises:
        UserError: If the run is resumed, and its events lack a policy's.
    """
    found: dict[int, Values] = {}
    if spread.writes:
        # A run that has no checkpoint yet begins anew, with its first events.
        found = last_values(history.begin(frames or -1))
        if not frames:
            found = {m.number: first_values(config, m.number, weights) for m in members}
            history.start(Event(0, "start", i, values) for i, values in found.items())
    found = dict(spread.team.share(list(found.items()))[0])
    for member in members:
        values = found.get(member.number)
        if values is None:
            raise UserError(
                f"{history.path} lacks the settings of policy {member.number}, so the "
                "run cannot be resumed; restore it, or give --run a new directory"
            )
        member.set_values(values)
