"""The scenario table: what each scenario's agent does and is rewarded for.

A scenario is a row of one table plus a .cfg file, ours or the wheel's; any other .cfg
file makes a scenario of its own.
"""

import difflib
import re
import sys
from pathlib import Path
from types import FrameType, SimpleNamespace
from typing import Any

from jaxfactory._util import plugins
from jaxfactory._util.errors import UserError
from jaxfactory.config.families import GYMNASIUM
from jaxfactory.scenarios import shaping
from jaxfactory.scenarios.action_heads import Delta, Head
from jaxfactory.scenarios.action_heads import action_spec as action_spec
from jaxfactory.scenarios.cfg_file import GameConfig
from jaxfactory.scenarios.maps import wad_files
from jaxfactory.scenarios.maps.wad_files import find_map as find_map
from jaxfactory.scenarios.maps.wad_files import find_wad as find_wad
from jaxfactory.scenarios.matches import Match
from jaxfactory.scenarios.scenario import Scenario as Scenario


CFG_FOLDER = Path(__file__).parent / "cfgs"
_LONG = Match(agents=8, minutes=12.0)


def _ours(name: str, cfg: str = "", **options: Any) -> Scenario:
    options = {"measurements": "none", **options}
    return Scenario(name=name, cfg=CFG_FOLDER / f"{cfg or name}.cfg", **options)


def _wheel(name: str, **options: Any) -> Scenario:
    options = {"measurements": "none", **options}
    return Scenario(
        name=name, cfg=wad_files.wheel_scenarios() / f"{name}.cfg", **options
    )


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


def _match(
    name: str,
    match: Match,
    *files: str,
    cfg: str = "duel",
    frags: shaping.Table = shaping.FRAGS_V0,
) -> Scenario:
    return _ours(
        name,
        cfg,
        delta=Delta(21, 12.5),
        shaping=frags,
        measurements="standard",
        # The field's map where the user has it, else the vizdoom package's.
        wads=files,
        match=match,
        raw_reward_variable="FRAGCOUNT",
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
        _match(
            "duel",
            Match(agents=2, respawn_delay=2),
            "ssl2.wad",
            "multi_duel.wad",
            frags=shaping.FRAGS_V1,
        ),
        _match(
            "deathmatch_full",
            Match(agents=4, bots=4, respawn_delay=2),
            "freedm.wad",
            "multi_deathmatch.wad",
            frags=shaping.FRAGS_V1,
        ),
        # The field's own rows of these do not run: their heads do not fit the buttons
        # of their files. These have the heads and the rewards of deathmatch_bots.
        _match("dm", _LONG, "cig.wad", cfg="deathmatch_bots"),
        _match("dwango5", _LONG, "dwango5.wad", "cig.wad", cfg="deathmatch_bots"),
    )
    return {row.name: row for row in rows}


def names() -> list[str]:
    """Return the names of all scenarios of the table."""
    return list(_rows())


# Those of the user's own: name -> the scenario and its reference.
_REGISTERED: dict[str, tuple[Scenario, str]] = {}


def register(scenario: Scenario) -> Scenario:
    """Make a scenario of one's own known by its name.

    Call it where a module is imported, so that who imports the module finds it: a run's
    config.json records the module (or the script's file) with the name.

    Args:
        scenario: The scenario; one of the same name and module is replaced.

    Returns:
        The scenario.

    Raises:
        UserError: If the name is taken.
    """
    place = SimpleNamespace(__module__=_caller(), __qualname__=scenario.name)
    reference = plugins.name_of(place)
    taken = _REGISTERED.get(scenario.name, (None, reference))[1] != reference
    if taken or scenario.name in _rows():
        raise UserError(
            f"there is a scenario named {scenario.name!r} already; register this one "
            "under another name"
        )
    _REGISTERED[scenario.name] = (scenario, reference)
    return scenario


def find(name: str) -> Scenario:
    """Return a scenario.

    Args:
        name: Of a built-in or registered one, the path of a .cfg file, or
            ``package.module:NAME`` or ``folder/file.py:NAME`` of one of one's own.

    Raises:
        UserError: If there is none.
    """
    if name.endswith(".cfg"):
        path = Path(name).expanduser()
        if not path.is_file():
            raise UserError(f"there is no scenario file {name}")
        return Scenario(name=path.stem, cfg=path.absolute())
    if ":" in name:
        return _imported(name)
    rows = _rows()
    if name in rows:
        return rows[name]
    if name in _REGISTERED:
        return _REGISTERED[name][0]
    close = difflib.get_close_matches(name, [*rows, *_REGISTERED], n=1)
    hint = f"did you mean {close[0]}?" if close else "see `jaxfactory scenarios`"
    if re.search(r"-v\d+$", name):
        hint = f"if you mean Gymnasium's, write {GYMNASIUM}{name}"
    raise UserError(f"there is no scenario named {name!r}; {hint}")


def reference(scenario: str | Scenario) -> str:
    """Return what `find` finds a scenario by in another process and directory.

    Args:
        scenario: As `find` takes it, or the scenario itself: a built-in, a registered
            one, or one that a module holds in a variable.

    Raises:
        UserError: If nobody could find it again.
    """
    if isinstance(scenario, str):
        if scenario in _REGISTERED:
            return _REGISTERED[scenario][1]
        if scenario.endswith(".cfg"):
            return str(Path(scenario).expanduser().absolute())
        return plugins.pinned(scenario)
    if _rows().get(scenario.name) == scenario:
        return scenario.name
    for known, where in _REGISTERED.values():
        if known is scenario:
            return where
    for module in list(sys.modules.values()):
        for name, value in list(getattr(module, "__dict__", {}).items()):
            if value is scenario:
                place = SimpleNamespace(__module__=module.__name__, __qualname__=name)
                return plugins.name_of(place)
    raise UserError(
        f"the scenario {scenario.name} is in no module's variable, so nobody could "
        "find it again to evaluate the run: put it into one, or register it there"
    )


def _caller() -> str:
    """Return the name of the first module outside of this package that called it."""
    frame = sys._getframe(1)
    # (A type checker may stand between.)
    while frame.f_back and _root(frame) in (_root(sys._getframe()), "jaxtyping"):
        frame = frame.f_back
    return frame.f_globals.get("__name__", "__main__")


def _root(frame: FrameType) -> str:
    return frame.f_globals.get("__name__", "__main__").partition(".")[0]


def _imported(name: str) -> Scenario:
    """Return what a reference names: a registered scenario or a variable."""
    name = plugins.pinned(name)
    place, _, wanted = name.rpartition(":")
    if place == "__main__" and not hasattr(sys.modules["__main__"], wanted):
        raise UserError(
            f"the scenario {wanted} was made at a prompt or in a notebook, where no "
            "other process finds it; put it into a file, and say --scenario FILE:NAME"
        )
    # Importing is what registers.
    plugins.load_module(name, "--scenario")
    known, where = _REGISTERED.get(wanted, (None, ""))
    if known is not None and where == name:
        return known
    found = plugins.load(name, "--scenario")
    if not isinstance(found, Scenario):
        raise UserError(
            f"--scenario {name!r} is {found!r}, but must be a jaxfactory.Scenario"
        )
    return found


def action_heads(scenario: Scenario, config: GameConfig) -> tuple[Head, ...]:
    """Return the choices of each head of a scenario."""
    return scenario.action_heads(config)
