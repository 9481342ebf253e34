"""What `jaxfactory scenarios` shows."""

from typing import NamedTuple

from jaxfactory import scenarios, shaping, wads
from jaxfactory.errors import UserError
from jaxfactory.game_config import GameConfig
from jaxfactory.heads import action_spec
from jaxfactory.scenario import Scenario
from jaxfactory.shaping import HeldWeapon


class Row(NamedTuple):
    """What `jaxfactory scenarios` shows of a scenario."""

    name: str
    actions: str
    observation: str
    rewards: str
    timeout: str
    files: str
    state: str


# Schemes that are too long to list, by name.
_SCHEMES = {shaping.FRAGS_V0: "frags v0", shaping.FRAGS_V1: "frags v1"}


def table() -> list[Row]:
    """Return one row for each scenario, with its state on this machine."""
    return [
        _row(scenario)
        for scenario in (scenarios.find(name) for name in scenarios.names())
    ]


def _row(scenario: Scenario) -> Row:
    config = scenario.load()
    spec = action_spec(scenario.action_heads(config))
    cfg_home = (
        "jaxfactory" if scenario.cfg.is_relative_to(scenarios.CFG_FOLDER) else "vizdoom"
    )
    files = [f"{scenario.cfg.name} ({cfg_home})"]
    try:
        wad = wads.find_wad(config)
        files.append(f"{wad.name} ({wads.home(wad)})")
        state = "ready"
    except UserError:
        command = wads.brought_by(config)
        files.append(" or ".join(config.wads or [config.scenario_path]) + " (missing)")
        state = "wad missing" + (f":\n{command}" if command else "")
    choices = [name for head in spec.names for name in head if name != "NOTHING"]
    measured = len(scenario.measured(config))
    return Row(
        name=scenario.name,
        actions=" x ".join(map(str, spec.heads)) + ": " + _shortened(choices),
        observation="image" + f" and {measured} measurements" * (measured > 0),
        rewards=_rewards_text(scenario, config),
        timeout=_timeout_text(scenario, config),
        files="\n".join(files),
        state=state,
    )


def _timeout_text(scenario: Scenario, config: GameConfig) -> str:
    if scenario.match is not None:
        match = scenario.match
        players = f"{match.agents} agent{'s' * (match.agents > 1)}"
        if match.bots:
            players += f", {match.bots} bot{'s' * (match.bots > 1)}"
        return f"{match.tics} tics ({players})"
    return f"{config.timeout} tics" if config.timeout else "none"


def _shortened(choices: list[str]) -> str:
    """List choices, a discretised button only once."""
    return ", ".join(dict.fromkeys(name.partition("=")[0] for name in choices))


def _rewards_text(scenario: Scenario, config: GameConfig) -> str:
    parts = [f"{key} {value:g}" for key, value in config.rewards.items() if value]
    parts += _shaping_text(scenario)
    parts.append("map script")
    text = ", ".join(parts)
    return text + f"; all x {scenario.reward_scale:g}" * (scenario.reward_scale != 1)


def _shaping_text(scenario: Scenario) -> list[str]:
    if callable(scenario.shaping):
        return ["a function of its own"]
    if scenario.shaping in _SCHEMES:
        return [_SCHEMES[scenario.shaping]]
    parts = []
    for term in scenario.shaping:
        if isinstance(term, HeldWeapon):
            parts.append(f"same weapon held {term.reward:+g}")
            continue
        changes = (("rises", term.rise), ("falls", term.fall))
        parts += [
            f"{term.variable} {how} {value:+g}" for how, value in changes if value
        ]
    return parts
