"""The map files that an agent was trained on, as its run's directory records them.

A score holds for one map: an agent's frags on another map are another number. The
record stays with the run when it is pushed, pulled and resumed.
"""

import json
from pathlib import Path

from jaxfactory._util import plain_json
from jaxfactory.config import runs
from jaxfactory.scenarios import scenario_table
from jaxfactory.scenarios.maps.map_file import MapFile


# The package whose maps an imported agent was trained on; their hashes are not known.
_FIELD = "sample-factory"
# More than any run's record has; one that was pulled may hold anything.
_MOST_BYTES = 100_000


def trained_on(run: Path) -> tuple[MapFile, ...]:
    """Return the maps that a run's agent was trained on, oldest first.

    None where the run does not say, as older ones do not, or its record cannot be read:
    that is no reason not to evaluate it.
    """
    file = run / runs.TRAINED_ON
    try:
        rows = plain_json.read(file, limit=_MOST_BYTES)
        return tuple(MapFile.from_dict(row) for row in rows)
    except (OSError, ValueError, TypeError, KeyError):
        return ()


def differs(one: MapFile, trained: tuple[MapFile, ...]) -> bool:
    """Whether a map is none of those that an agent is known to be trained on."""
    return bool(trained) and not any(one.is_same(other) for other in trained)


def record(run: Path, trained: MapFile | None) -> None:
    """Add a map to those that a run's agent was trained on.

    Args:
        run: The run's directory, which exists.
        trained: The map; None for none, as of Gymnasium's environments.
    """
    before = trained_on(run)
    if trained is None or (before and not differs(trained, before)):
        return
    rows = [map_file.as_dict() for map_file in (*before, trained)]
    runs.write_atomically(run / runs.TRAINED_ON, json.dumps(rows, indent=2) + "\n")


def record_imported(run: Path, scenario: str | None) -> None:
    """Record the map that Sample Factory trains on in an environment of its own.

    Args:
        run: The run's directory, which exists.
        scenario: Our name of the environment that the agent was trained in there;
            nothing is recorded of one that is none of ours.
    """
    if scenario not in scenario_table.names():
        return
    row = scenario_table.find(scenario)
    # The first choice of each scenario is the map that is used there.
    first = (row.wads or (row.load().scenario_path,))[0]
    record(run, MapFile(Path(first).name, _FIELD, ""))
