"""Finds map files, and checks that they contain the map.

The packages that contain them are located, but never imported.
"""

import importlib.util
import os
from pathlib import Path

from jaxfactory._util.errors import UserError
from jaxfactory.scenarios.cfg_file import GameConfig
from jaxfactory.scenarios.maps import pk3


WAD_PATH_VARIABLE = "JAXFACTORY_WAD_PATH"

# Distribution, the package that it installs, and the folder of maps in it.
_PACKAGES = (
    ("vizdoom", "vizdoom", "scenarios"),
    ("envpool-assets", "envpool_assets", "vizdoom/maps"),
    ("sample-factory", "sf_examples", "vizdoom/doom/scenarios"),
)
PACKAGES = tuple(name for name, *_ in _PACKAGES)
_ASSETS = "pip install envpool-assets"
# Only for its maps: its dependencies are large and need an older NumPy.
_FIELD = "pip install --no-deps sample-factory"
# Map files that the vizdoom package lacks, and the commands that install them.
_BROUGHT_BY = {
    "D3_battle.wad": _ASSETS,
    "D4_battle2.wad": _ASSETS,
    "two_colors_easy.wad": _FIELD,
    "two_colors_hard.wad": _FIELD,
    "ssl2.wad": _FIELD,
    "dwango5.wad": _FIELD,
    "freedm.wad": _FIELD,
}
# Names of the same map files in another package.
_OTHER_NAMES = {"battle.wad": "D3_battle.wad", "battle2.wad": "D4_battle2.wad"}


def vizdoom_folder() -> Path:
    """Return the folder of the vizdoom package.

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
    """Return the game's data file, to which maps are added."""
    folder = vizdoom_folder()
    # As in DoomGame: the original game's data, if the user has put them there.
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
        UserError: If it is not found; the message lists the folders that were searched
            and the package that contains it.
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
    remedy = f"`{command}` installs it; or " if command else ""
    raise UserError(
        f"the map {' or '.join(name.name for name in wanted)} of {config.path.name} is "
        f"not in {looked}; {remedy}put it into one of them or set {WAD_PATH_VARIABLE} "
        "to its folder"
    )


def brought_by(config: GameConfig) -> str:
    """Return the command that installs a scenario's map, "" if none is known."""
    names = [Path(name).name for name in config.wads or [config.scenario_path]]
    return next((_BROUGHT_BY[name] for name in names if name in _BROUGHT_BY), "")


def brings(name: str) -> str:
    """Return the command that installs a map file, "" if none is known."""
    return _BROUGHT_BY.get(first_name(name), "")


def first_name(name: str) -> str:
    """Return the canonical name of a map file whose name differs by package."""
    return _OTHER_NAMES.get(name, name)


def home(wad: Path) -> str:
    """Return the package that contains a map file, or else its folder."""
    for name, package, _ in _PACKAGES:
        folder = _package_folder(package)
        if folder is not None and wad.is_relative_to(folder.resolve()):
            return name
    return str(wad.parent)


def find_map(config: GameConfig, iwad: Path) -> Path:
    """Return the map file of a scenario, after checking that it contains the map.

    The engine reports no error: it loads another map instead.

    Raises:
        UserError: If the file is missing or broken, or does not contain the map.
    """
    wad = find_wad(config)
    found = pk3.read(wad)
    # An archive with maps must contain the map; the game's own maps do not count.
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


# The most maps that a message lists.
_NAMED = 40
