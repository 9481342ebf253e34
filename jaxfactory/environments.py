"""Families of environments: Doom's scenarios, and Gymnasium's registry."""

from jaxfactory import maps, scenarios
from jaxfactory.env_config import EnvConfig, gymnasium_id


def check(config: EnvConfig, *, video: bool = False) -> None:
    """Complain about an environment that is not there, before anything is started.

    Args:
        config: Names it.
        video: Whether there are to be videos of it.

    Raises:
        UserError: If there is none of that name, it cannot be made, or not be seen.
    """
    if gymnasium_id(config.scenario) is None:
        scenarios.find(config.scenario)
        maps.check(config)
        return
    from jaxfactory import gymnasium_registry, gymnasium_replay

    gymnasium_registry.make_env(config).close()
    if video:
        gymnasium_replay.check(config)
