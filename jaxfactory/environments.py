"""Families of environments: Doom's scenarios, and Gymnasium's registry."""

from jaxfactory import scenarios
from jaxfactory.env_config import EnvConfig, gymnasium_id


def check(config: EnvConfig) -> None:
    """Complain about an environment that is not there, before anything is started.

    Raises:
        UserError: If there is none of that name, or it cannot be made.
    """
    if gymnasium_id(config.scenario) is None:
        scenarios.find(config.scenario)
        return
    from jaxfactory import gymnasium_registry

    gymnasium_registry.make_env(config).close()
