"""Finds, checks and describes the map file of a scenario, or a chosen one."""

import dataclasses
import hashlib
from pathlib import Path

from jaxfactory._util.errors import UserError
from jaxfactory.scenarios.cfg_file import GameConfig
from jaxfactory.scenarios.maps import wad_files
from jaxfactory.scenarios.maps.map_file import CHOSEN, LOCAL, MapFile
from jaxfactory.scenarios.scenario import Scenario


def find(game: GameConfig, chosen: str | None, iwad: Path) -> Path:
    """Return the map file to load, after checking that it contains the map.

    Args:
        game: The scenario's .cfg file.
        chosen: Map file to use instead of the scenario's own, or None.
        iwad: The game's data, which may contain the map of a scenario.

    Raises:
        UserError: If the file is missing or broken, or nothing contains the map.
    """
    if chosen is None:
        return wad_files.find_map(game, iwad)
    path = _chosen(chosen)
    # This file must contain the map: the game's own data have one of the same name,
    # which the engine would load instead.
    return wad_files.find_map(dataclasses.replace(game, wads=[str(path)]), path)


def check(scenario: Scenario, chosen: str) -> None:
    """Raise a `UserError` for a chosen map that is missing, broken or does not fit."""
    find(scenario.load(), chosen, wad_files.vizdoom_folder())


def describe(path: Path, *, chosen: bool) -> MapFile:
    """Return the record of a map file, with its origin and hash.

    Args:
        path: The file.
        chosen: Whether `--map` named it.
    """
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    origin = wad_files.home(path)
    if origin == str(path.parent):
        origin = CHOSEN if chosen else LOCAL
    return MapFile(path.name, origin, digest)


def _chosen(name: str) -> Path:
    path = Path(name).expanduser().absolute()
    if path.suffix.lower() not in (".wad", ".pk3"):
        raise UserError(
            f"--map {name} must be a map file, whose name ends with .wad or .pk3"
        )
    if not path.is_file():
        raise UserError(
            f"the map file {path} does not exist; give its path, or another map, with "
            "--map FILE"
        )
    return path
