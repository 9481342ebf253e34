"""The table of families of environments; a scenario's name selects one, and a preset.

A new kind of environment is a folder in `envs/` and one line here. The table is data:
settings are validated and help is shown without importing any environment.
"""

from typing import NamedTuple


GYMNASIUM = "gymnasium:"


class Entry(NamedTuple):
    """One family of environments.

    Attributes:
        title: What messages call its environments.
        module: The module whose `FAMILY` implements `envs.family.Family`.
        preset: Name of the preset that supplies its defaults.
        time_unit: What episode lengths count.
        staggers: Whether its pools take the option ``stagger``.
        shapes_rewards: Whether the shaped return may differ from the raw return.
        settings: Fields of `EnvConfig` that only this family has.
    """

    title: str
    module: str
    preset: str = "default"
    time_unit: str = "steps"
    shapes_rewards: bool = False
    staggers: bool = False
    settings: tuple[str, ...] = ()


# Prefix of a scenario's name -> its family. Names without a known prefix are Doom's.
FAMILIES: dict[str, Entry] = {
    "": Entry(
        "Doom",
        "jaxfactory.envs.doom.family",
        time_unit="tics",
        shapes_rewards=True,
        staggers=True,
        settings=(
            "tics", "width", "height", "screen_width", "screen_height", "grayscale",
            "depth", "labels", "automap", "num_workers", "engine", "engine_tics",
            "num_agents", "num_bots", "wide", "frame_stack", "measurements",
            "allow_game_args", "map",
        ),
    ),
    GYMNASIUM: Entry(
        "Gymnasium's environments",
        "jaxfactory.envs.gymnasium.family",
        preset="gymnasium",
        settings=("processes",),
    ),
}  # fmt: skip

# Scenarios that were measured to learn sooner with another preset than their family's.
SCENARIO_PRESETS = {
    "health_gathering": "short_horizon",
    "health_gathering_supreme": "short_horizon",
}


def of(scenario: str) -> Entry:
    """Return the family of a scenario, by the prefix of its name.

    >>> of("gymnasium:CartPole-v1").title, of("own.py:NAME").title
    ("Gymnasium's environments", 'Doom')
    """
    known = (prefix for prefix in FAMILIES if prefix and scenario.startswith(prefix))
    return FAMILIES[next(known, "")]


def preset_of(scenario: str) -> str:
    """Return the name of the preset that supplies a scenario's defaults.

    >>> preset_of("gymnasium:CartPole-v1"), preset_of("basic"), preset_of("own.py:NAME")
    ('gymnasium', 'default', 'default')
    >>> preset_of("health_gathering_supreme")
    'short_horizon'
    """
    return SCENARIO_PRESETS.get(scenario, of(scenario).preset)
