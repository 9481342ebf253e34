"""Map files: where they may lie, and what is in them.

The packages that bring them are only looked for, never imported.
"""

import importlib.util
import os
from pathlib import Path

from jaxfactory._util.errors import UserError
from jaxfactory.scenarios.cfg_file import GameConfig
from jaxfactory.scenarios.maps import pk3


WAD_PATH_VARIABLE = "JAXFACTORY_WAD_PATH"

# Distribution, the package that it installs, and the folder in it.
_PACKAGES = (
    ("vizdoom", "vizdoom", "scenarios"),
    ("envpool-assets", "envpool_assets", "vizdoom/maps"),
    ("sample-factory", "sf_examples", "vizdoom/doom/scenarios"),
)
PACKAGES = tuple(name for name, *_ in _PACKAGES)
_ASSETS = "pip install envpool-assets"
# For its maps alone: what it depends on is large, and wants an older NumPy.
_FIELD = "pip install --no-deps sample-factory"
# Map files that the vizdoom package has not, and what brings them.
_BROUGHT_BY = {
    "D3_battle.wad": _ASSETS,
    "D4_battle2.wad": _ASSETS,
    "two_colors_easy.wad": _FIELD,
    "two_colors_hard.wad": _FIELD,
    "ssl2.wad": _FIELD,
    "dwango5.wad": _FIELD,
    "freedm.wad": _FIELD,
}
# The same map files under the names that another package gives them.
_OTHER_NAMES = {"battle.wad": "D3_battle.wad", "battle2.wad": "D4_battle2.wad"}


def vizdoom_folder() -> Path:
    """Return where the vizdoom package lies.

    Raises:
        UserError: If it is not installed.
    """
    folder = _package_folder("vizdoom")
    if folder is None:
        raise UserError("the vizdoom package is missing; pip install vizdoom")
    return folder


def wheel_scenarios() -> Path:
    """Return the folder of the vizdoom package's own scenarios."""
    return vizdoom_folder() / "scenarios"


def iwad() -> Path:
    """Return the file of the game itself, which maps are added to."""
    folder = vizdoom_folder()
    # As DoomGame does: the original game's data where the user has put them there.
    original = folder / "doom2.wad"
    return original if original.is_file() else folder / "freedoom2.wad"


def _package_folder(name: str) -> Path | None:
    try:
        found = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return None
    if found is None or not found.submodule_search_locations:
        return None
    return Path(next(iter(found.submodule_search_locations)))


def _folders(cfg: Path) -> list[Path]:
    """Return the folders that are searched, in order."""
    extra = [Path(p) for p in os.environ.get(WAD_PATH_VARIABLE, "").split(":") if p]
    installed = {
        name: folder / inside
        for name, package, inside in _PACKAGES
        if (folder := _package_folder(package)) is not None
    }
    field = [installed.pop("sample-factory")] if "sample-factory" in installed else []
    return list(dict.fromkeys([cfg.parent, *installed.values(), *extra, *field]))


def find_wad(config: GameConfig) -> Path:
    """Return the map file of a scenario.

    Raises:
        UserError: If it is nowhere; the sentence says where it was looked for and
            which package brings it.
    """
    wanted = [Path(name) for name in config.wads or [config.scenario_path] if name]
    if not wanted:
        raise UserError(
            f"{config.path} names no doom_scenario_path, so there is no map"
        )
    folders = _folders(config.path)
    for name in wanted:
        for folder in folders:
            for candidate in (folder / name, folder / name.name):
                if candidate.is_file():
                    return candidate.resolve()
    looked = ", ".join(str(folder) for folder in folders)
    command = brought_by(config)
    remedy = f"`{command}` brings it; or " if command else ""
    raise UserError(
        f"the map {' or '.join(name.name for name in wanted)} of {config.path.name} is "
        f"not in {looked}; {remedy}put it into one of them or set {WAD_PATH_VARIABLE} "
        "to its folder"
    )


def brought_by(config: GameConfig) -> str:
    """Return the command that brings a scenario's map, "" where none is known."""
    names = [Path(name).name for name in config.wads or [config.scenario_path]]
    return next((_BROUGHT_BY[name] for name in names if name in _BROUGHT_BY), "")


def brings(name: str) -> str:
    """Return the command that brings a map file, "" where none is known."""
    return _BROUGHT_BY.get(first_name(name), "")


def first_name(name: str) -> str:
    """Return the one name of a map file that packages give several."""
    return _OTHER_NAMES.get(name, name)


def home(wad: Path) -> str:
    """Return the package that a map file lies in, or else its folder."""
    for name, package, _ in _PACKAGES:
        folder = _package_folder(package)
        if folder is not None and wad.is_relative_to(folder.resolve()):
            return name
    return str(wad.parent)


def find_map(config: GameConfig, iwad: Path) -> Path:
    """Return the map file of a scenario, once it is sure that it holds the map.

    The engine itself says nothing: it plays some other map then.

    Raises:
        UserError: If the file is missing or broken, or its map is nowhere in it.
    """
    wad = find_wad(config)
    found = pk3.read(wad)
    # An archive that holds maps is there for them, and not for the game's own.
    others = found.archived and found.maps
    own = [] if others else pk3.read(iwad).lumps
    if config.map.upper() not in {*found.lumps, *found.maps, *own}:
        names = ", ".join(name.lower() for name in found.maps[:_NAMED]) or "none"
        raise UserError(
            f"there is no map {config.map} in {wad.name}; it has {names}; name one of "
            f"them as doom_map in {config.path.name}"
            if found.maps
            else f"there is no map {config.map} in {wad.name}; it has {names}"
        )
    return wad


# Maps that a message names at most.
_NAMED = 40
