"""Reading a run's evaluation.json, which may come from an untrusted source.

Its numbers go into reports and model cards, where a value that is infinite or not a
number would raise an exception. Its texts go into pages that others read.
"""

import math
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxfactory._util import plain_files, plain_json
from jaxfactory._util.errors import UserError
from jaxfactory.config import families, validation
from jaxfactory.scenarios.maps.map_file import MapFile


if TYPE_CHECKING:
    from jaxfactory.rollout.episode import Episode

STATISTICS = ("mean", "std", "mean_minus_std", "min", "max")
# Larger scores are refused: no table has space for 300 digits.
_LARGEST = 1e30
_DATE = re.compile(r"\d{4}-\d\d-\d\d([T ][0-9:.,+Z-]{1,32})?", re.ASCII)
_LONGEST_TEXT = 4096


class NoEpisodes(UserError):  # noqa: N818 - names what is missing
    """An evaluation lists no episodes, like those of the first versions."""


def read(path: Path, remedy: str) -> dict[str, Any] | None:
    """Return what `evaluate` wrote; None if there is no such file.

    Args:
        path: The file.
        remedy: The remedy in the error message, without a full stop.

    Raises:
        UserError: If it cannot be read, or a field is missing or invalid.
        NoEpisodes: If the list of episodes is missing.
    """
    if not path.exists():
        return None
    result = plain_json.read_object(path, remedy)
    if result.get("each") is None:
        raise NoEpisodes(f"{path} cannot be read: its each is None; {remedy}")
    for name in (*_REQUIRED, *(result.keys() - _REQUIRED.keys())):
        holds = _REQUIRED.get(name) or _OPTIONAL.get(name, _is_other)
        if not holds(result.get(name)):
            raise UserError(
                f"{path} cannot be read: its {name:.60} is "
                f"{result.get(name)!r:.60}; {remedy}"
            )
    return result


def summary_titles(scenario: str) -> dict[str, str]:
    """Return the statistics of a scenario's evaluations, each with its title."""
    kind = families.of(scenario)
    shaped = {"shaped_return": "shaped return"} if kind.shapes_rewards else {}
    return {
        "raw_return": "raw return" if kind.shapes_rewards else "return",
        **shaped,
        "length": f"length ({kind.time_unit})",
        "frags": "frags",
        "place": "place",
    }


def standard_error(result: Mapping[str, Any], name: str) -> float:
    """Return the standard error of a statistic's mean over the episodes."""
    return float(result[name]["std"]) / math.sqrt(result["episodes"])


def check_returns(episodes: Iterable["Episode"], path: Path) -> None:
    """Refuse a score that could not be read back.

    Raises:
        UserError: If a return is not finite, or too large.
    """
    for number, episode in enumerate(episodes):
        for value in (episode.raw_return, episode.shaped_return):
            if not is_number(value):
                raise UserError(
                    f"the return of episode {number} is {value:g}, so there is no "
                    f"score and {path} is not written; check the environment for "
                    "rewards that are NaN, infinite or very large"
                )


def is_number(value: Any) -> bool:
    """Whether a value is a finite number, small enough to display."""
    return plain_json.is_number(value, _LARGEST)


def _is_text(value: Any) -> bool:
    return (
        isinstance(value, str)
        and len(value) <= _LONGEST_TEXT
        and plain_files.is_plain(value)
    )


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool)


def _is_summary(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and all(name in value for name in STATISTICS)
        and all(map(is_number, value.values()))
    )


def _are_episodes(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_episode, value))


def _is_episode(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and is_number(value.get("raw_return"))
        and is_number(value.get("shaped_return"))
        and all(isinstance(v, bool) or is_number(v) for v in value.values())
    )


def _is_map(value: Any) -> bool:
    try:
        MapFile.from_dict(value)
    except ValueError:
        return False
    return True


def _are_maps(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_map, value))


def _is_other(value: Any) -> bool:
    """Whether a field that this version does not know is harmless."""
    if isinstance(value, dict):
        return all(map(_is_text, value)) and all(map(_is_other, value.values()))
    if isinstance(value, list):
        return all(map(_is_other, value))
    return value is None or _is_flag(value) or _is_text(value) or is_number(value)


_REQUIRED: dict[str, Callable[[Any], bool]] = {
    "raw_return": _is_summary,
    "shaped_return": _is_summary,
    "length": _is_summary,
    "episodes": plain_json.is_count,
    "frames_trained": plain_json.is_count,
    "checkpoint": lambda value: (
        isinstance(value, str) and validation.names_checkpoint(value)
    ),
    "each": _are_episodes,
}
_OPTIONAL: dict[str, Callable[[Any], bool]] = {
    "scenario": _is_text,
    "deterministic": _is_flag,
    "seed": plain_json.is_count,
    "num_envs": plain_json.is_count,
    "date": lambda value: isinstance(value, str) and bool(_DATE.fullmatch(value)),
    "truncated": plain_json.is_count,
    "frags": _is_summary,
    "place": _is_summary,
    "first_places": plain_json.is_count,
    # For Doom scenarios only.
    "map": lambda value: value is None or _is_map(value),
    "trained_on": lambda value: value is None or _are_maps(value),
}
