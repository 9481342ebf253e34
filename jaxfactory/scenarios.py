"""The scenario table: what each scenario's agent does and is rewarded for.

A scenario is a row of one table plus a .cfg file, ours or the wheel's; any other .cfg
file makes a scenario of its own.
"""

import dataclasses
import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from jaxfactory import heads, measurements, shaping, wads
from jaxfactory.errors import UserError
from jaxfactory.game_config import GameConfig, read_cfg
from jaxfactory.heads import Delta, Head
from jaxfactory.heads import action_spec as action_spec
from jaxfactory.matches import Match
from jaxfactory.measurements import Measurement
from jaxfactory.shaping import Function, HeldWeapon, Table
from jaxfactory.wads import find_map as find_map
from jaxfactory.wads import find_wad as find_wad
from jaxfactory.wads import vizdoom_folder as vizdoom_folder


CFG_FOLDER = Path(__file__).parent / "cfgs"


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """One row of the table.

    Attributes:
        cfg: Path of the .cfg file.
        heads: "flat" for one head of all single buttons, "grouped" for one head for
            each group of opposite buttons, or the choices of each head.
        delta: How buttons that take a value become heads. Without it their values are
            11 up to the file's `button_max_value` or 10, index 0 being "nothing".
        reward_scale: Multiplies the reward that is trained on.
        shaping: Added to the scenario's own reward: rows of a table, or a function
            over batches of game variables (see `shaping.Function`).
        measurements: The second observation: "variables" for the file's game variables
            as they are, "standard" for the field's 23, "none", or rows of one's own.
        wads: Map files instead of the one that the file names; the first that is found
            is played.
        match: Who plays, where it is a game of several players.
        own_variable: A game variable whose change is reported as the own reward,
            instead of the file's rewards.
    """

    name: str
    cfg: Path
    heads: Literal["flat", "grouped"] | tuple[Head, ...] = "grouped"
    delta: Delta | None = None
    reward_scale: float = 1.0
    shaping: Table | Function = ()
    measurements: Literal["variables", "standard", "none"] | tuple[Measurement, ...] = (
        "variables"
    )
    wads: tuple[str, ...] = ()
    match: Match | None = None
    own_variable: str = ""

    def load(self) -> GameConfig:
        """Read the .cfg file."""
        return dataclasses.replace(read_cfg(Path(self.cfg)), wads=list(self.wads))

    def measured(self, config: GameConfig) -> tuple[Measurement, ...]:
        """Return the rows of the second observation."""
        if self.measurements == "none":
            return ()
        if self.measurements == "variables":
            return measurements.raw(config.variables)
        if self.measurements == "standard":
            return measurements.standard(config.variables)
        return self.measurements


def _ours(name: str, cfg: str = "", **options: Any) -> Scenario:
    options = {"measurements": "none", **options}
    return Scenario(name=name, cfg=CFG_FOLDER / f"{cfg or name}.cfg", **options)


def _wheel(name: str, **options: Any) -> Scenario:
    options = {"measurements": "none", **options}
    return Scenario(name=name, cfg=wads.wheel_scenarios() / f"{name}.cfg", **options)


def _battle(name: str, *files: str) -> Scenario:
    return _ours(
        name,
        delta=Delta(11, 10.0),
        # What else the scheme pays for does not happen in a game without players, or
        # is no variable of this scenario.
        shaping=shaping.only(shaping.FRAGS_V0, "HEALTH"),
        measurements="standard",
        wads=files,
    )


def _match(name: str, match: Match, *files: str, cfg: str = "duel") -> Scenario:
    against_agents = match.agents > 1
    return _ours(
        name,
        cfg,
        delta=Delta(21, 12.5),
        shaping=shaping.FRAGS_V1 if against_agents else shaping.FRAGS_V0,
        measurements="standard",
        # The field's map where the user has it, else the vizdoom package's.
        wads=files,
        match=match,
        own_variable="FRAGCOUNT",
    )


def _rows() -> dict[str, Scenario]:
    gathering = shaping.GATHERING
    rows = (
        _ours("basic", heads="flat", reward_scale=0.01),
        _ours("my_way_home"),
        _ours("my_way_home_flat", "my_way_home", heads="flat"),
        _ours("deadly_corridor", reward_scale=0.01),
        _ours("defend_the_center"),
        _ours("defend_the_center_flat", "defend_the_center", heads="flat"),
        _ours("defend_the_line"),
        _ours("health_gathering", heads="flat", shaping=gathering),
        _ours("health_gathering_supreme", heads="flat", shaping=gathering),
        _wheel("take_cover"),
        _wheel("predict_position"),
        _wheel("rocket_basic"),
        _wheel("simpler_basic"),
        _wheel("deathmatch", measurements="standard"),
        # The same maps, under the names that their two packages give them.
        _battle("battle", "D3_battle.wad", "battle.wad"),
        _battle("battle2", "D4_battle2.wad", "battle2.wad"),
        _ours("benchmark", heads="flat", wads=("D3_battle.wad", "battle.wad")),
        _ours("two_colors_easy", shaping=gathering),
        _ours("two_colors_hard", shaping=gathering),
        _match(
            "duel_bots", Match(bots=1, respawn_delay=2), "ssl2.wad", "multi_duel.wad"
        ),
        _match(
            "deathmatch_bots",
            Match(bots=7),
            "dwango5.wad",
            "cig.wad",
            cfg="deathmatch_bots",
        ),
        _match("duel", Match(agents=2, respawn_delay=2), "ssl2.wad", "multi_duel.wad"),
        _match(
            "deathmatch_full",
            Match(agents=4, bots=4, respawn_delay=2),
            "freedm.wad",
            "multi_deathmatch.wad",
        ),
    )
    return {row.name: row for row in rows}


def names() -> list[str]:
    """Return the names of all scenarios of the table."""
    return list(_rows())


def find(name: str) -> Scenario:
    """Return a scenario by its name or the path of its .cfg file.

    Raises:
        UserError: If there is neither.
    """
    if name.endswith(".cfg"):
        path = Path(name).expanduser()
        if not path.is_file():
            raise UserError(f"there is no scenario file {name}")
        return Scenario(name=path.stem, cfg=path.absolute())
    rows = _rows()
    if name in rows:
        return rows[name]
    close = difflib.get_close_matches(name, rows, n=1)
    hint = f"did you mean {close[0]}?" if close else "see `jaxfactory scenarios`"
    raise UserError(f"there is no scenario named {name!r}; {hint}")


def action_heads(scenario: Scenario, config: GameConfig) -> tuple[Head, ...]:
    """Return the choices of each head of a scenario."""
    if scenario.heads == "flat":
        return heads.flat(config, scenario.delta)
    if scenario.heads == "grouped":
        return heads.grouped(config, scenario.delta)
    return scenario.heads


class Row(NamedTuple):
    """What `jaxfactory scenarios` shows of a scenario."""

    name: str
    actions: str
    rewards: str
    timeout: str
    files: str
    state: str


def table() -> list[Row]:
    """Return one row for each scenario, with its state on this machine."""
    return [_row(scenario) for scenario in _rows().values()]


def _row(scenario: Scenario) -> Row:
    config = scenario.load()
    spec = action_spec(action_heads(scenario, config))
    cfg_home = "jaxfactory" if scenario.cfg.is_relative_to(CFG_FOLDER) else "vizdoom"
    files = [f"{scenario.cfg.name} ({cfg_home})"]
    try:
        wad = find_wad(config)
        files.append(f"{wad.name} ({wads.home(wad)})")
        state = "ready"
    except UserError:
        package = wads.missing_package(config)
        wanted = " or ".join(config.wads or [config.scenario_path])
        state = f"{wanted} missing" + (f": pip install {package}" if package else "")
    choices = [name for head in spec.names for name in head[1:]]
    return Row(
        name=scenario.name,
        actions=" x ".join(map(str, spec.heads)) + ": " + _shortened(choices),
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
