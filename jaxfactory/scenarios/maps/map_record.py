"""The record in a run directory of the map files that its agent was trained on.

Scores on different maps do not compare. The record stays with the run when it is
pushed, pulled and resumed.
"""

import json
from pathlib import Path

from jaxfactory._util import plain_json
from jaxfactory.config import runs
from jaxfactory.scenarios import scenario_table
from jaxfactory.scenarios.maps.map_file import MapFile


# The package that contains the maps of imported agents; the hashes are unknown.
_FIELD = "sample-factory"
# More than any valid record needs; a pulled run is untrusted.
_MOST_BYTES = 100_000


def trained_on(run: Path) -> tuple[MapFile, ...]:
    """Return the maps that a run's agent was trained on, oldest first.

    Empty if the run has no record, as in older runs, or the record cannot be read. The
    agent can be evaluated all the same.
    """
    file = run / runs.TRAINED_ON
    try:
        rows = plain_json.read(file, limit=_MOST_BYTES)
        return tuple(MapFile.from_dict(row) for row in rows)
    except (OSError, ValueError, TypeError, KeyError):
        return ()


def differs(one: MapFile, trained: tuple[MapFile, ...]) -> bool:
    """Whether a map is known not to be one that an agent was trained on."""
    return bool(trained) and not any(one.is_same(other) for other in trained)


def record(run: Path, trained: MapFile | None) -> None:
    """Add a map to a run's record.

    Args:
        run: The run's directory, which exists.
        trained: The map; None for environments without maps, such as Gymnasium's.
    """
    before = trained_on(run)
    if trained is None or (before and not differs(trained, before)):
        return
    rows = [map_file.as_dict() for map_file in (*before, trained)]
    runs.write_atomically(run / runs.TRAINED_ON, json.dumps(rows, indent=2) + "\n")


def record_imported(run: Path, scenario: str | None) -> None:
    """Record the map that Sample Factory uses for a scenario.

    Args:
        run: The run's directory, which exists.
        scenario: This package's name of the scenario that the agent was trained in;
            nothing is recorded if it is not a built-in one.
    """
    if scenario not in scenario_table.names():
        return
    row = scenario_table.find(scenario)
    # The first choice of each scenario is the map that Sample Factory uses.
    first = (row.wads or (row.load().scenario_path,))[0]
    record(run, MapFile(Path(first).name, _FIELD, ""))
