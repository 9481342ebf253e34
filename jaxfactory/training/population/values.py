"""The settings that the policies of a population have of their own."""

from collections.abc import Sequence

import numpy as np

from jaxfactory._util.errors import UserError
from jaxfactory.config.agents.population import OWN, REWARD_WEIGHTS, PopulationConfig
from jaxfactory.config.train import Config
from jaxfactory.population.history import Event, History, last_values
from jaxfactory.population.selection import Values, mutated
from jaxfactory.training.population.members import Member


# A reward weight's name among a policy's settings; the rest names the row.
WEIGHT = "reward_weight/"


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
    config: Config, members: Sequence[Member], history: History, frames: int
) -> None:
    """Give the policies their settings: those of the last event, or the first ones.

    Raises:
        UserError: If the run is resumed, and its events lack a policy's.
    """
    found = last_values(history.begin(frames))
    if not frames:
        found = {m.number: first_values(config, m.number, ()) for m in members}
        history.add(Event(0, "start", i, values) for i, values in found.items())
    for member in members:
        values = found.get(member.number)
        if values is None:
            raise UserError(
                f"{history.path} lacks the settings of policy {member.number}, so the "
                "run cannot be resumed; restore it, or give --run a new directory"
            )
        member.set_values(values)
