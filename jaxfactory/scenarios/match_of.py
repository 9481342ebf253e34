"""The match that settings and scenario make together."""

from jaxfactory.config.env import EnvConfig
from jaxfactory.scenarios import matches
from jaxfactory.scenarios.matches import Match
from jaxfactory.scenarios.scenario import Scenario


def match_of(config: EnvConfig, scenario: Scenario) -> Match | None:
    """Return a scenario's match with the settings' agents and bots, None without one.

    Raises:
        UserError: If the settings do not fit the scenario.
    """
    return matches.resolve(
        scenario.match,
        scenario.name,
        num_agents=config.num_agents,
        num_bots=config.num_bots,
        queued=config.tics == "queued",
    )
