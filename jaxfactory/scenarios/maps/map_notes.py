"""Notes on the map of an evaluation: for the log, the report and the model card."""

import dataclasses
from pathlib import Path
from typing import Any

from jaxfactory._util.errors import UserError
from jaxfactory.scenarios.maps import wad_files
from jaxfactory.scenarios.maps.map_file import MapFile
from jaxfactory.scenarios.maps.map_record import differs
from jaxfactory.scenarios.scenario import Scenario


def sentences(
    scenario: Scenario,
    path: Path,
    used: MapFile,
    trained: tuple[MapFile, ...],
    chosen: str | None = None,
) -> list[str]:
    """Describe the map, and warn if scores on it do not compare with others.

    Args:
        scenario: The scenario.
        path: Path of its map file.
        used: The map file.
        trained: The maps that the agent was trained on; empty if unknown.
        chosen: What `--map` named, or None.
    """
    place = wad_files.home(path)
    note = f"map: {used.file} ({place}, SHA-256 {used.short_hash})"
    if differs(used, trained):
        return [note, _difference(scenario, used, trained)]
    return [note + _second_choice(scenario, used, chosen)]


def before_training(
    scenario: Scenario, path: Path, used: MapFile, chosen: str | None = None
) -> str:
    """Return a note on a map that replaces the scenario's first choice, else ""."""
    [note] = sentences(scenario, path, used, (), chosen)
    return note if _second_choice(scenario, used, chosen) else ""


def of_result(result: dict[str, Any]) -> str:
    """Return a short text on the maps of an evaluation.json, "" if it names none."""
    if result.get("map") is None:
        return ""
    rows = (result["map"], *(result.get("trained_on") or ()))
    used, *trained = map(MapFile.from_dict, rows)
    text = f"map {used.file} ({used.origin}, SHA-256 {used.short_hash})"
    if differs(used, tuple(trained)):
        text += f", trained on {_names(trained)}"
    return text


def _difference(scenario: Scenario, used: MapFile, trained: tuple[MapFile, ...]) -> str:
    last = trained[-1]
    if last.file == used.file:
        return (
            f"trained on another {last.file} (SHA-256 {last.short_hash}): scores on "
            "another map differ; --map FILE selects a map"
        )
    return (
        f"trained on {_names(trained)}, evaluated on {used.file} ({used.origin}): "
        f"scores on another map differ; {_remedy(scenario, last)}"
    )


def _remedy(scenario: Scenario, wanted: MapFile) -> str:
    """Return how to evaluate on a map that the agent was trained on."""
    game = dataclasses.replace(scenario.load(), wads=[wanted.file])
    try:
        path = wad_files.find_wad(game)
    except UserError:
        command = wad_files.brings(wanted.file)
        brought = f"`{command}` installs {wanted.file}, " if command else ""
        return f"{brought}--map FILE selects a map"
    return f"--map {path} selects {wanted.file}"


def _second_choice(scenario: Scenario, used: MapFile, chosen: str | None) -> str:
    """Return a note if the map replaces the scenario's first choice, else ""."""
    if chosen is not None or not scenario.wads:
        return ""
    first = wad_files.first_name(Path(scenario.wads[0]).name)
    command = wad_files.brings(first)
    if wad_files.first_name(used.file) == first or not command:
        return ""
    return (
        f", in place of {first}, which `{command}` installs: scores on the two do not "
        "compare"
    )


def _names(trained: "list[MapFile] | tuple[MapFile, ...]") -> str:
    return " and ".join(map_file.file for map_file in trained)
