"""Families of environments: Doom's scenarios, and Gymnasium's registry."""

from jaxfactory.config.env import EnvConfig, gymnasium_id
from jaxfactory.scenarios import scenario_table
from jaxfactory.scenarios.maps import selection


def check(config: EnvConfig, *, video: bool = False) -> None:
    """Complain about an environment that is not there, before anything is started.

    Args:
        config: Names it.
        video: Whether there are to be videos of it.

    Raises:
        UserError: If there is none of that name, it cannot be made, or not be seen.
    """
    if gymnasium_id(config.scenario) is None:
        scenario_table.find(config.scenario)
        selection.check(config)
        return
    from jaxfactory.envs.gymnasium import registry, replay

    registry.make_env(config).close()
    if video:
        replay.check(config)
