"""A configuration as flat text, for display and comparison."""

from collections.abc import Sequence
from typing import Any

from jaxfactory.config import train as config_lib
from jaxfactory.config.presets import PRESETS
from jaxfactory.config.train import Config


# Settings that do not affect learning, and the seed.
_NOT_TRAINING = (
    "seed", "checkpoint-minutes", "keep-every", "serial", "evaluate-every",
    "evaluate-episodes", "video-every", "best-by", "wandb", "wandb-project",
    "wandb-entity", "wandb-group",
)  # fmt: skip


def flat(config: Config) -> dict[str, str]:
    """Return every setting as text, by flag name."""
    result: dict[str, str] = {}
    for name, value in config_lib.to_dict(config).items():
        section = value if isinstance(value, dict) else {name: value}
        for key, inner in section.items():
            result[key.replace("_", "-")] = _text(inner)
    return result


def training(config: Config) -> dict[str, str]:
    """Return the settings that affect learning, without the seed."""
    return {
        name: text for name, text in flat(config).items() if name not in _NOT_TRAINING
    }


def nearest_preset(config: Config) -> tuple[str, dict[str, tuple[str, str]]]:
    """Return the preset closest to a configuration, and the differences.

    Scenario, frames and seed do not count as differences.

    Returns:
        The preset's name, and setting -> (the preset's value, the run's value).
    """
    own = flat(config)
    best: tuple[str, dict[str, tuple[str, str]]] | None = None
    for name, preset in PRESETS.items():
        theirs = flat(preset)
        changed = {
            key: (theirs[key], value)
            for key, value in own.items()
            if theirs[key] != value and key not in ("scenario", "total-frames", "seed")
        }
        if best is None or len(changed) < len(best[1]):
            best = (name, changed)
    assert best is not None
    return best


def differing(rows: Sequence[dict[str, str]]) -> list[str]:
    """Return the settings that differ between rows."""
    if not rows:
        return []
    return [key for key in rows[0] if len({row.get(key) for row in rows}) > 1]


def _text(value: Any) -> str:
    if isinstance(value, tuple | list):
        return " ".join(map(str, value))
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int) and abs(value) >= 10_000:
        return f"{value:,}"
    return str(value)
