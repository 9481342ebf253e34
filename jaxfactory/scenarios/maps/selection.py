"""The map file of an environment: which one is used, and how it is written down."""

import dataclasses
import hashlib
from pathlib import Path

from jaxfactory._util.errors import UserError
from jaxfactory.config.env import EnvConfig, gymnasium_id
from jaxfactory.scenarios import scenario_table
from jaxfactory.scenarios.cfg_file import GameConfig
from jaxfactory.scenarios.maps import wad_files
from jaxfactory.scenarios.maps.map_file import CHOSEN, LOCAL, MapFile
from jaxfactory.scenarios.scenario import Scenario


def find(config: EnvConfig, game: GameConfig, iwad: Path) -> Path:
    """Return the map file of an environment, once it is sure that it holds the map.

    Args:
        config: Names it where it is not the scenario's own.
        game: The scenario's .cfg file.
        iwad: The game's data, which may hold the map of a scenario.

    Raises:
        UserError: If the file is missing or broken, or its map is nowhere in it.
    """
    if config.map is None:
        return wad_files.find_map(game, iwad)
    chosen = _chosen(config.map)
    # The game's data have a map of the usual name too, which the engine would play
    # where this file has none.
    return wad_files.find_map(dataclasses.replace(game, wads=[str(chosen)]), chosen)


def check(config: EnvConfig) -> None:
    """Complain about a map that was chosen and does not fit, before anything starts.

    Raises:
        UserError: If it is missing or broken, or lacks the scenario's map.
    """
    if config.map is not None:
        game = scenario_table.find(config.scenario).load()
        find(config, game, wad_files.vizdoom_folder())


def path_of(config: EnvConfig, scenario: Scenario | None = None) -> Path:
    """Return where the map file of a Doom environment lies, without looking into it.

    Args:
        config: The environment.
        scenario: Instead of the one that `config` names.

    Raises:
        UserError: If it is missing.
    """
    if config.map is not None:
        return _chosen(config.map)
    return wad_files.find_wad((scenario or scenario_table.find(config.scenario)).load())


def of(config: EnvConfig, scenario: Scenario | None = None) -> MapFile | None:
    """Return the map file of an environment, None of Gymnasium's.

    Args:
        config: The environment.
        scenario: Instead of the one that `config` names.

    Raises:
        UserError: If the file is missing.
    """
    if scenario is None and gymnasium_id(config.scenario) is not None:
        return None
    path = path_of(config, scenario)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    origin = wad_files.home(path)
    if origin == str(path.parent):
        origin = LOCAL if config.map is None else CHOSEN
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
