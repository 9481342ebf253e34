"""The output of `jaxfactory scenarios`."""

from collections.abc import Sequence
from typing import NamedTuple

from rich.console import Console
from rich.table import Table
from rich.text import Text

from jaxfactory._util.errors import UserError
from jaxfactory.scenarios import scenario_table, shaping
from jaxfactory.scenarios.action_heads import action_spec
from jaxfactory.scenarios.cfg_file import GameConfig
from jaxfactory.scenarios.maps import wad_files
from jaxfactory.scenarios.scenario import Scenario
from jaxfactory.scenarios.shaping import HeldWeapon


class Row(NamedTuple):
    """What `jaxfactory scenarios` prints about a scenario."""

    name: str
    heads: str
    buttons: str
    observation: str
    players: str
    rewards: str
    timeout: str
    files: str
    state: str
    remedy: str


# Names of reward shaping schemes that are too long to list.
_SCHEMES = {shaping.FRAGS_V0: "frags v0", shaping.FRAGS_V1: "frags v1"}


def show(names: Sequence[str]) -> None:
    """Describe the named scenarios, or list all of them."""
    console = Console()
    if names:
        for row in [_row(scenario_table.find(name)) for name in names]:
            _describe(row, console)
        return
    rows = table()
    shown = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for title in ("scenario", "state", "players", "seen"):
        shown.add_column(title, no_wrap=True)
    shown.add_column("actions", overflow="fold")
    for row in rows:
        shown.add_row(
            row.name,
            row.state,
            row.players,
            row.observation,
            row.heads.replace(" ", ""),
        )
    console.print(shown)
    console.print()
    remedies: dict[str, list[str]] = {}
    for row in rows:
        if row.remedy:
            remedies.setdefault(row.remedy, []).append(row.name)
    for remedy, names in remedies.items():
        console.print(Text(f"The maps of {', '.join(names)} come with: {remedy}"))
    console.print(
        Text(
            "Actions: the number of choices of each action head. "
            "image + 23: 23 measurements besides the image.\n"
            "For buttons, rewards and files: jaxfactory scenarios NAME"
        )
    )


def _describe(row: Row, console: Console) -> None:
    shown = Table(show_header=False, title=Text(row.name), title_justify="left")
    shown.add_column(no_wrap=True)
    shown.add_column(overflow="fold")
    state = row.state + f": {row.remedy}" * bool(row.remedy)
    for title, text in (
        ("state", state),
        ("actions", row.heads),
        ("buttons", row.buttons),
        ("seen", row.observation),
        ("rewards", row.rewards),
        ("time-out", row.timeout),
        ("players", row.players),
        ("files", row.files),
    ):
        shown.add_row(title, Text(text))
    console.print(shown)


def table() -> list[Row]:
    """Return one row for each scenario, with its state on this machine."""
    return [_row(scenario_table.find(name)) for name in scenario_table.names()]


def _row(scenario: Scenario) -> Row:
    config = scenario.load()
    spec = action_spec(scenario.action_heads(config))
    cfg_home = (
        "jaxfactory"
        if scenario.cfg.is_relative_to(scenario_table.CFG_FOLDER)
        else "vizdoom"
    )
    files = [f"{scenario.cfg.name} ({cfg_home})"]
    try:
        wad = wad_files.find_wad(config)
        files.append(f"{wad.name} ({wad_files.home(wad)})")
        state = "ready"
    except UserError:
        files.append(" or ".join(config.wads or [config.scenario_path]) + " (missing)")
        state = "missing"
    choices = [name for head in spec.names for name in head if name != "NOTHING"]
    measured = len(scenario.measured(config))
    return Row(
        name=scenario.name,
        heads=" x ".join(map(str, spec.heads)),
        buttons=_shortened(choices),
        observation="image" + f" + {measured}" * (measured > 0),
        players=_players_text(scenario),
        rewards=_rewards_text(scenario, config),
        timeout=_timeout_text(scenario, config),
        files="\n".join(files),
        state=state,
        remedy="" if state == "ready" else wad_files.brought_by(config),
    )


def _players_text(scenario: Scenario) -> str:
    if scenario.match is None:
        return "1 agent"
    agents, bots = scenario.match.agents, scenario.match.bots
    text = f"{agents} agent{'s' * (agents > 1)}"
    return text + f", {bots} bot{'s' * (bots > 1)}" * (bots > 0)


def _timeout_text(scenario: Scenario, config: GameConfig) -> str:
    if scenario.match is not None:
        return f"{scenario.match.tics} tics"
    return f"{config.timeout} tics" if config.timeout else "none"


def _shortened(choices: list[str]) -> str:
    """List choices, each discretized button once."""
    return ", ".join(dict.fromkeys(name.partition("=")[0] for name in choices))


def _rewards_text(scenario: Scenario, config: GameConfig) -> str:
    parts = [f"{key} {value:g}" for key, value in config.rewards.items() if value]
    parts += _shaping_text(scenario)
    parts.append("map script")
    text = ", ".join(parts)
    return text + f"; all x {scenario.reward_scale:g}" * (scenario.reward_scale != 1)


def _shaping_text(scenario: Scenario) -> list[str]:
    if callable(scenario.shaping):
        return ["own function"]
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
