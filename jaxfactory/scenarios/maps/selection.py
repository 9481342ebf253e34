"""The map file of a scenario, or one chosen instead: found, checked, described."""

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
    # The game's data contain a map of the usual name, which the engine would load if
    # this file had none: so it must be in this file.
    return wad_files.find_map(dataclasses.replace(game, wads=[str(path)]), path)


def check(scenario: Scenario, chosen: str) -> None:
    """Raise a `UserError` for a chosen map that is missing, broken or does not fit."""
    find(scenario.load(), chosen, wad_files.vizdoom_folder())


def describe(path: Path, *, chosen: bool) -> MapFile:
    """Return a map file with its origin and hash, as a run records it.

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
            f"the map file {path} is not there; give its place, or another map, with "
            "--map FILE"
        )
    return path
