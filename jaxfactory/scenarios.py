"""The scenario table: what each scenario's agent does and is rewarded for.

A scenario is a row of one table plus a .cfg file, ours or the wheel's; any other .cfg
file makes a scenario of its own.
"""

import difflib
import importlib.util
import itertools
import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from jaxfactory.errors import UserError
from jaxfactory.game_config import GameConfig, read_cfg
from jaxfactory.spec import ActionSpec


CFG_FOLDER = Path(__file__).parent / "cfgs"
WAD_PATH_VARIABLE = "JAXFACTORY_WAD_PATH"

# Choices of a head: what each index does, as values for buttons.
Choice = tuple[tuple[str, float], ...]
Head = tuple[Choice, ...]

# Buttons that cannot sensibly be held together share a head.
_OPPOSITES = (
    ("TURN_LEFT", "TURN_RIGHT"),
    ("MOVE_FORWARD", "MOVE_BACKWARD"),
    ("MOVE_LEFT", "MOVE_RIGHT"),
    ("MOVE_UP", "MOVE_DOWN"),
    ("LOOK_UP", "LOOK_DOWN"),
    ("SELECT_NEXT_WEAPON", "SELECT_PREV_WEAPON"),
    ("SELECT_NEXT_ITEM", "SELECT_PREV_ITEM"),
    tuple(f"SELECT_WEAPON{i}" for i in range(10)),
)
_DELTA_CHOICES = 11
_DELTA_RANGE = 10.0


class Shaping(NamedTuple):
    """A reward for changes of a game variable between two decisions.

    Attributes:
        rise: Added for each unit that the variable rose by.
        fall: Added for each unit that it fell by.
        cap: The largest rise that counts; 0 for no limit.
        per_event: Add `rise` or `fall` once, whatever the change.
    """

    variable: str
    rise: float = 0.0
    fall: float = 0.0
    cap: float = 0.0
    per_event: bool = False


GATHERING = (Shaping("HEALTH", rise=1.0, per_event=True),)


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """One row of the table.

    Attributes:
        cfg: Path of the .cfg file.
        heads: "flat" for one head of all single buttons, "grouped" for one head for
            each group of opposite buttons.
        reward_scale: Multiplies the reward that is trained on.
        shaping: Added to the scenario's own reward.
    """

    name: str
    cfg: Path
    heads: Literal["flat", "grouped"] = "grouped"
    reward_scale: float = 1.0
    shaping: tuple[Shaping, ...] = ()

    def load(self) -> GameConfig:
        """Read the .cfg file."""
        return read_cfg(self.cfg)


def vizdoom_folder() -> Path:
    """Return where the vizdoom package lies."""
    found = importlib.util.find_spec("vizdoom")
    if found is None or not found.submodule_search_locations:
        raise UserError("the vizdoom package is missing; pip install vizdoom")
    return Path(found.submodule_search_locations[0])


def _wheel_scenarios() -> Path:
    return vizdoom_folder() / "scenarios"


def _rows() -> dict[str, Scenario]:
    def ours(name: str, cfg: str = "", **options) -> Scenario:
        path = CFG_FOLDER / f"{cfg or name}.cfg"
        return Scenario(name=name, cfg=path, **options)

    def wheel(name: str) -> Scenario:
        return Scenario(name=name, cfg=_wheel_scenarios() / f"{name}.cfg")

    rows = (
        ours("basic", heads="flat", reward_scale=0.01),
        ours("my_way_home"),
        ours("my_way_home_flat", "my_way_home", heads="flat"),
        ours("deadly_corridor", reward_scale=0.01),
        ours("defend_the_center"),
        ours("defend_the_center_flat", "defend_the_center", heads="flat"),
        ours("defend_the_line"),
        ours("health_gathering", heads="flat", shaping=GATHERING),
        ours("health_gathering_supreme", heads="flat", shaping=GATHERING),
        wheel("take_cover"),
        wheel("predict_position"),
        wheel("rocket_basic"),
        wheel("simpler_basic"),
        wheel("deathmatch"),
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


def find_wad(config: GameConfig) -> Path:
    """Return the map file of a .cfg file.

    Raises:
        UserError: If it is nowhere; the sentence says where it was looked for.
    """
    if not config.scenario_path:
        raise UserError(
            f"{config.path} names no doom_scenario_path, so there is no map"
        )
    wanted = Path(config.scenario_path)
    extra = [Path(p) for p in os.environ.get(WAD_PATH_VARIABLE, "").split(":") if p]
    folders = [config.path.parent, _wheel_scenarios(), *extra]
    for folder in folders:
        for candidate in (folder / wanted, folder / wanted.name):
            if candidate.is_file():
                return candidate.resolve()
    looked = ", ".join(str(folder) for folder in folders)
    raise UserError(
        f"the map {wanted.name} of {config.path.name} is not in {looked}; put it into "
        f"one of them or set {WAD_PATH_VARIABLE} to its folder"
    )


def find_map(config: GameConfig, iwad: Path) -> Path:
    """Return the map file of a .cfg file, once it is sure that it holds the map.

    The engine itself says nothing: it plays some other map then.

    Raises:
        UserError: If the file is missing or broken, or its map is nowhere in it.
    """
    wad = find_wad(config)
    if wad.suffix.lower() != ".wad":
        return wad  # an archive, which only the engine can look into
    lumps = _lumps(wad)
    if config.map.upper() not in {*lumps, *_lumps(iwad)}:
        maps = [
            a.lower()
            for a, b in itertools.pairwise(lumps)
            if b in ("THINGS", "TEXTMAP")
        ]
        raise UserError(
            f"there is no map {config.map} in {wad.name}; it has "
            f"{', '.join(maps) or 'none'}"
        )
    return wad


def _lumps(wad: Path) -> list[str]:
    """Return the names in a WAD file's directory (https://doomwiki.org/wiki/WAD)."""
    with wad.open("rb") as file:
        header = file.read(12)
        magic, count, start = struct.unpack("<4sii", header.ljust(12, b"\0"))
        size = file.seek(0, os.SEEK_END)
        if (
            magic not in (b"IWAD", b"PWAD")
            or min(count, start) < 0
            or (start + 16 * count > size)
        ):
            raise UserError(f"{wad} is not a map file (WAD), or it is cut short")
        file.seek(start)
        entries = struct.iter_unpack("<ii8s", file.read(16 * count))
        return [name.split(b"\0")[0].decode("latin-1").upper() for *_, name in entries]


def action_heads(scenario: Scenario, config: GameConfig) -> tuple[Head, ...]:
    """Return the choices of each head; index 0 of each is "nothing"."""
    binary = [b for b in config.buttons if not b.endswith("_DELTA")]
    if scenario.heads == "flat":
        groups = [binary] if binary else []
    else:
        groups = _grouped(binary)
    heads = [((), *(((button, 1.0),) for button in group)) for group in groups]
    heads.extend(
        _delta_head(button, config.max_values.get(button, 0.0))
        for button in config.buttons
        if button.endswith("_DELTA")
    )
    return tuple(heads)


def _grouped(buttons: list[str]) -> list[list[str]]:
    groups: dict[object, list[str]] = {}
    for button in buttons:
        key = next((group for group in _OPPOSITES if button in group), button)
        groups.setdefault(key, []).append(button)
    return list(groups.values())


def _delta_head(button: str, limit: float) -> Head:
    limit = limit or _DELTA_RANGE
    step = 2 * limit / (_DELTA_CHOICES - 1)
    values = [-limit + i * step for i in range(_DELTA_CHOICES)]
    # "Nothing" comes first, as in every head; the rest go from left to right.
    values.sort(key=lambda value: (abs(value) > 1e-9, value))
    return tuple(((button, value),) if abs(value) > 1e-9 else () for value in values)


def action_spec(heads: tuple[Head, ...]) -> ActionSpec:
    """Return the sizes of heads and the names of their choices."""

    def name(choice: Choice) -> str:
        return "+".join(
            button if value == 1.0 else f"{button}={value:g}"
            for button, value in choice
        )

    return ActionSpec(
        heads=tuple(len(head) for head in heads),
        names=tuple(tuple(name(c) or "NOTHING" for c in head) for head in heads),
    )


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
    rows = []
    for scenario in _rows().values():
        config = scenario.load()
        spec = action_spec(action_heads(scenario, config))
        try:
            wad, state = find_wad(config), "ready"
        except UserError:
            wad, state = None, f"{config.scenario_path} missing"
        home = "jaxfactory" if scenario.cfg.is_relative_to(CFG_FOLDER) else "vizdoom"
        files = [f"{scenario.cfg.name} ({home})"]
        if wad is not None:
            files.append(f"{wad.name} (vizdoom)")
        choices = [name for head in spec.names for name in head[1:]]
        rows.append(
            Row(
                name=scenario.name,
                actions=" x ".join(map(str, spec.heads)) + ": " + _shortened(choices),
                rewards=_rewards_text(scenario, config),
                timeout=f"{config.timeout} tics" if config.timeout else "none",
                files="\n".join(files),
                state=state,
            )
        )
    return rows


def _shortened(choices: list[str]) -> str:
    """List choices, a discretised button only once."""
    return ", ".join(dict.fromkeys(name.partition("=")[0] for name in choices))


def _rewards_text(scenario: Scenario, config: GameConfig) -> str:
    parts = [f"{key} {value:g}" for key, value in config.rewards.items() if value]
    parts += [f"{term.variable} rises {term.rise:+g}" for term in scenario.shaping]
    parts.append("map script")
    text = ", ".join(parts)
    return text + f"; all x {scenario.reward_scale:g}" * (scenario.reward_scale != 1)
