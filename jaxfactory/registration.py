"""Doom's scenarios in Gymnasium's registry.

Gymnasium loads no plug-ins by itself, so that ``import jaxfactory`` registers them.
What an environment needs is imported when one is made.
"""

NAMESPACE = "jaxfactory"
# Takes a scenario's name or the path of a .cfg file as its `scenario`.
ANY_SCENARIO = f"{NAMESPACE}/Doom-v0"


def env_id(scenario: str) -> str:
    """Return the name of a scenario in the registry.

    >>> env_id("health_gathering_supreme")
    'jaxfactory/HealthGatheringSupreme-v0'
    """
    words = "".join(word.capitalize() for word in scenario.split("_"))
    return f"{NAMESPACE}/{words}-v0"


def register_scenarios() -> None:
    """Register every scenario, where Gymnasium is installed; once is enough.

    One whose map is missing is registered too: making it says where the map was looked
    for.
    """
    try:
        from gymnasium.envs.registration import register, registry
    except ImportError:
        return
    if ANY_SCENARIO in registry:
        return
    from jaxfactory import scenarios
    from jaxfactory.errors import UserError

    entry_points = {
        "entry_point": "jaxfactory.vector_env:DoomEnv",
        "vector_entry_point": "jaxfactory.vector_env:DoomVectorEnv",
    }
    register(ANY_SCENARIO, **entry_points)
    try:
        names = scenarios.names()
    except UserError:  # ViZDoom itself is missing; its scenarios come with it.
        return
    for name in names:
        register(env_id(name), kwargs={"scenario": name}, **entry_points)
