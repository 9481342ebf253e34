"""The scenario table: reward, actions, map and match of each built-in scenario.

A scenario is a row here plus a .cfg file, which sets its raw reward and its buttons;
`register` and `find` add user-defined scenarios.
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

# The raw reward of each scenario is in its .cfg file. `shaping` is added to it, and
# `reward_scale` multiplies the sum.
_GATHERING = shaping.GATHERING  # +1 for each health pick-up
# Frags, deaths, hits, damage, health, armor, weapons and ammunition.
_FRAGS_VS_BOTS = shaping.FRAGS_V0
_FRAGS_VS_AGENTS = shaping.FRAGS_V1
# Single player: +0.005 per point of health gained, -0.003 per point lost, and 0.002 for
# holding a weapon. The scenario has no variables for the other terms.
_BATTLE = shaping.only(shaping.FRAGS_V0, "HEALTH")

# Maps in order of preference; packages name the same map differently.
_BATTLE_WADS = ("D3_battle.wad", "battle.wad")
_BATTLE2_WADS = ("D4_battle2.wad", "battle2.wad")
_DUEL_WADS = ("ssl2.wad", "multi_duel.wad")
_DEATHMATCH_WADS = ("dwango5.wad", "cig.wad")

_TURNS = Delta(11, 10.0)  # degrees per tic
_FINE_TURNS = Delta(21, 12.5)
_EIGHT_AGENTS = Match(agents=8, minutes=12.0)


def _ours(name: str, cfg: str = "", **options: Any) -> Scenario:
    """Return a scenario with a .cfg file of this package."""
    options = {"measurements": "none", **options}
    return Scenario(name=name, cfg=CFG_FOLDER / f"{cfg or name}.cfg", **options)


def _wheel(name: str, **options: Any) -> Scenario:
    """Return a scenario with a .cfg file of the vizdoom package."""
    options = {"measurements": "none", **options}
    return Scenario(
        name=name, cfg=wad_files.wheel_scenarios() / f"{name}.cfg", **options
    )


def _battle(name: str, wads: tuple[str, ...]) -> Scenario:
    return _ours(
        name, delta=_TURNS, shaping=_BATTLE, measurements="standard", wads=wads
    )


def _match(
    name: str,
    match: Match,
    wads: tuple[str, ...],
    *,
    cfg: str = "duel",
    frags: shaping.Table = _FRAGS_VS_BOTS,
) -> Scenario:
    return _ours(
        name,
        cfg,
        delta=_FINE_TURNS,
        shaping=frags,
        measurements="standard",
        wads=wads,
        match=match,
        raw_reward_variable="FRAGCOUNT",
    )


def _rows() -> dict[str, Scenario]:
    """Return the table, by name."""
    rows = (
        _ours("basic", heads="flat", reward_scale=0.01),
        _ours("my_way_home"),
        _ours("my_way_home_flat", "my_way_home", heads="flat"),
        _ours("deadly_corridor", reward_scale=0.01),
        _ours("defend_the_center"),
        _ours("defend_the_center_flat", "defend_the_center", heads="flat"),
        _ours("defend_the_line"),
        _ours("health_gathering", heads="flat", shaping=_GATHERING),
        _ours("health_gathering_supreme", heads="flat", shaping=_GATHERING),
        _wheel("take_cover"),
        _wheel("predict_position"),
        _wheel("rocket_basic"),
        _wheel("simpler_basic"),
        _wheel("deathmatch", measurements="standard"),
        _battle("battle", _BATTLE_WADS),
        _battle("battle2", _BATTLE2_WADS),
        _ours("benchmark", heads="flat", wads=_BATTLE_WADS),
        _ours("two_colors_easy", shaping=_GATHERING),
        _ours("two_colors_hard", shaping=_GATHERING),
        _match("duel_bots", Match(bots=1, respawn_delay=2), _DUEL_WADS),
        _match(
            "deathmatch_bots", Match(bots=7), _DEATHMATCH_WADS, cfg="deathmatch_bots"
        ),
        _match(
            "duel",
            Match(agents=2, respawn_delay=2),
            _DUEL_WADS,
            frags=_FRAGS_VS_AGENTS,
        ),
        _match(
            "deathmatch_full",
            Match(agents=4, bots=4, respawn_delay=2),
            ("freedm.wad", "multi_deathmatch.wad"),
            frags=_FRAGS_VS_AGENTS,
        ),
        # Sample Factory's own rows for these two fail: their heads do not match the
        # buttons of their .cfg files. These use deathmatch_bots' heads and rewards.
        _match("dm", _EIGHT_AGENTS, ("cig.wad",), cfg="deathmatch_bots"),
        _match("dwango5", _EIGHT_AGENTS, _DEATHMATCH_WADS, cfg="deathmatch_bots"),
    )
    return {row.name: row for row in rows}


def names() -> list[str]:
    """Return the names of all built-in scenarios."""
    return list(_rows())


# Registered by users: name -> the scenario and its reference.
_REGISTERED: dict[str, tuple[Scenario, str]] = {}


def register(scenario: Scenario) -> Scenario:
    """Register your own scenario under its name.

    Call it at the top level of a module: a run's config.json records the module (or the
    script's file) with the name, and importing it registers the scenario again.

    Args:
        scenario: The scenario; it replaces one of the same name and module.

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
        name: Name of a built-in or registered scenario, path of a .cfg file, or
            ``package.module:NAME`` or ``folder/file.py:NAME`` of your own scenario.

    Raises:
        UserError: If there is no such scenario.
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
    """Return a name with which `find` finds a scenario from any process and directory.

    Args:
        scenario: A name for `find`, or a scenario that is built in, registered, or
            stored in a module's variable.

    Raises:
        UserError: If no other process could find it.
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
        f"the scenario {scenario.name} is not in a module's variable, so the run could "
        "not be evaluated later; assign it to one, or register it in a module"
    )


def _caller() -> str:
    """Return the name of the calling module outside this package."""
    frame = sys._getframe(1)
    # (jaxtyping's checker may be in between.)
    while frame.f_back and _root(frame) in (_root(sys._getframe()), "jaxtyping"):
        frame = frame.f_back
    return frame.f_globals.get("__name__", "__main__")


def _root(frame: FrameType) -> str:
    return frame.f_globals.get("__name__", "__main__").partition(".")[0]


def _imported(name: str) -> Scenario:
    """Import a module and return its registered scenario or variable."""
    name = plugins.pinned(name)
    place, _, wanted = name.rpartition(":")
    if place == "__main__" and not hasattr(sys.modules["__main__"], wanted):
        raise UserError(
            f"the scenario {wanted} was defined at a prompt or in a notebook, where no "
            "other process finds it; move it to a file and use --scenario FILE:NAME"
        )
    # Importing the module registers its scenarios.
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
