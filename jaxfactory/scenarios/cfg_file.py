"""Reads ViZDoom's .cfg files, with one error message per mistake.

A .cfg file may be hostile: its size, the length of its lists, its numbers and the
characters of the map's name are bounded.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from jaxfactory._util import plain_files, plain_json
from jaxfactory._util.errors import UserError


@dataclass(kw_only=True)
class GameConfig:
    """The settings in a .cfg file that the pool uses, with the engine's defaults.

    Attributes:
        rewards: The rewards that the file sets, by the pool's names.
        render: Rendering switches by name.
        max_values: The largest value of each delta button.
        wads: Map files instead of `scenario_path`; the first that exists is used.
    """

    path: Path
    scenario_path: str = ""
    wads: list[str] = field(default_factory=list)
    map: str = "map01"
    skill: int = 3
    timeout: int = 0
    start_time: int = 1
    game_args: list[str] = field(default_factory=list)
    buttons: list[str] = field(default_factory=list)
    variables: list[str] = field(default_factory=list)
    max_values: dict[str, float] = field(default_factory=dict)
    rewards: dict[str, float] = field(default_factory=dict)
    automap_mode: int = 0
    render: dict[str, bool] = field(
        default_factory=lambda: {
            "hud": False, "minimal_hud": False, "weapon": True, "crosshair": False,
            "decals": True, "particles": True, "effects_sprites": True,
            "messages": False, "automap_rotate": False,
            "automap_render_textures": True,
            "automap_render_objects_as_sprites": False, "corpses": True,
            "screen_flashes": True,
        }
    )  # fmt: skip

    @property
    def render_mode(self) -> int:
        """The switches as the engine's bit mask; their order is that of the bits."""
        return sum(on << bit for bit, on in enumerate(self.render.values()))


# .cfg key -> (name in `rewards`, sign): a penalty is a reward of opposite sign.
_REWARD_KEYS = {
    "living_reward": ("living", 1),
    "death_penalty": ("death_penalty", 1),
    "death_reward": ("death_penalty", -1),
    "map_exit_reward": ("map_exit", 1),
    "kill_reward": ("kill", 1),
    "secret_reward": ("secret", 1),
    "item_reward": ("item", 1),
    "frag_reward": ("frag", 1),
    "hit_reward": ("hit", 1),
    "hit_taken_penalty": ("hit_taken_penalty", 1),
    "hit_taken_reward": ("hit_taken_penalty", -1),
    "damage_made_reward": ("damage_made", 1),
    "damage_taken_penalty": ("damage_taken_penalty", 1),
    "damage_taken_reward": ("damage_taken_penalty", -1),
    "health_reward": ("health", 1),
    "armor_reward": ("armor", 1),
}
_COUNT_KEYS = {
    "doom_skill": "skill",
    "episode_timeout": "timeout",
    "episode_start_time": "start_time",
}
_AUTOMAP_MODES = ("normal", "whole", "objects", "objects_with_size")
# Set by the pool, not by the file: the observation, and how the engine runs.
_IGNORED = {
    "mode", "seed", "ticrate", "screen_resolution", "screen_format", "window_visible",
    "console_enabled", "sound_enabled", "audio_buffer_enabled", "audio_sampling_rate",
    "audio_buffer_size", "depth_buffer_enabled", "labels_buffer_enabled",
    "automap_buffer_enabled", "objects_info_enabled", "sectors_info_enabled",
    "notifications_buffer_enabled", "notifications_buffer_size", "render_all_frames",
    "vizdoom_path", "doom_game_path", "doom_config_path",
}  # fmt: skip


# Real files have a few kilobytes.
_MAX_BYTES = 1 << 18
# The engine has fewer buttons and variables.
_MAX_NAMES = 256
_MAX_GAME_ARGS = 512
# Tics: more than a year of game time, and far below the engine's limit of 2^32.
_MAX_COUNT = 10**9
_MAX_NUMBER = 1e9
# In bytes; a folder is prepended.
_MAX_PATH = 1024
_MAP_NAME = re.compile(r"[A-Za-z0-9_]{1,8}")


def read_cfg(path: Path) -> GameConfig:
    """Read a .cfg file.

    Raises:
        UserError: If it cannot be read, or a line is invalid.
    """
    text = _read(path)
    config = GameConfig(path=path)
    for number, key, value, append in _entries(text, path):
        try:
            _apply(config, key, value, append=append)
        except ValueError as error:
            raise UserError(f"{path}, line {number}: {error}") from error
    if not config.buttons:
        raise UserError(f"{path} names no available_buttons, so there is no action")
    config.start_time = max(config.start_time, 1)
    config.skill = min(max(config.skill, 1), 5)
    return config


def _read(path: Path) -> str:
    try:
        with plain_files.open_regular(path) as file:
            data = file.read(_MAX_BYTES + 1)
        if len(data) > _MAX_BYTES:
            raise ValueError(
                f"a .cfg file may have {_MAX_BYTES:,} bytes and this one has more"
            )
        # Windows editors write a byte order mark.
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"cannot read {path}: it is not UTF-8 text") from error
    except (OSError, ValueError) as error:
        reason = plain_json.reason(error)
        raise UserError(f"cannot read {path}: {reason}") from error


def _entries(text: str, path: Path) -> Iterator[tuple[int, str, str, bool]]:
    """Yield (line number, key, value, whether it appends) for each setting."""
    lines = [line.strip() for line in text.splitlines()]
    position = 0
    while position < len(lines):
        number, line = position + 1, lines[position]
        position += 1
        if not line or line.startswith("#"):
            continue
        key, equals, value = line.partition("=")
        append = key.endswith("+")
        key, value = key.removesuffix("+").strip(), value.strip()
        if not equals or not re.fullmatch("[A-Za-z0-9_ ]+", key):
            raise UserError(
                f"{path}, line {number}: expected 'key = value', got {line[:80]!r}"
            )
        parts = [value]
        listed = value.startswith("{")
        listed = listed or (not value and _list_follows(lines, position))
        while listed and "}" not in parts[-1] and position < len(lines):
            if not lines[position].startswith("#"):
                parts.append(lines[position])
            position += 1
        yield number, _snake(key), " ".join(parts).strip(), append


def _list_follows(lines: list[str], position: int) -> bool:
    while position < len(lines):
        line = lines[position]
        if line and not line.startswith("#"):
            return line.startswith("{")
        position += 1
    return False


def _snake(key: str) -> str:
    # episodeTimeout and episode_timeout are the same key.
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", key.strip()).lower()


def _apply(  # noqa: C901 - one branch for each kind of key
    config: GameConfig, key: str, value: str, *, append: bool
) -> None:
    if key in ("available_buttons", "available_game_variables"):
        names = _names(value)
        target = config.buttons if key == "available_buttons" else config.variables
        if not append:
            target.clear()
        target.extend(name for name in names if name not in target)
        if len(target) > _MAX_NAMES:
            raise ValueError(f"{key} has more than {_MAX_NAMES} names")
    elif key == "game_args":
        if not append:
            config.game_args.clear()
        config.game_args.extend(value.split())
        if len(config.game_args) > _MAX_GAME_ARGS:
            raise ValueError(f"game_args has more than {_MAX_GAME_ARGS} words")
    elif key in _REWARD_KEYS:
        name, sign = _REWARD_KEYS[key]
        config.rewards[name] = sign * _number(value)
    elif key in _COUNT_KEYS:
        setattr(config, _COUNT_KEYS[key], _count(value))
    elif key == "doom_scenario_path":
        if not _is_path(value):
            raise ValueError(f"expected the name of a map file, got {value[:80]!r}")
        config.scenario_path = value
    elif key == "doom_map":
        # It becomes part of a console command, where ; would start another command.
        if not _MAP_NAME.fullmatch(value):
            raise ValueError(
                f"expected a map's name of 1 to 8 letters, digits and _, got "
                f"{value[:80]!r}"
            )
        config.map = value.lower()
    elif key == "button_max_value":
        button, _, number = value.partition(" ")
        config.max_values[button.upper()] = _number(number)
    elif key == "automap_mode":
        if value.lower() not in _AUTOMAP_MODES:
            known = ", ".join(_AUTOMAP_MODES)
            raise ValueError(f"expected one of {known}, got {value[:80]!r}")
        config.automap_mode = _AUTOMAP_MODES.index(value.lower())
    elif key.removeprefix("render_") in config.render:
        config.render[key.removeprefix("render_")] = _switch(value)
    elif key not in _IGNORED:
        raise ValueError(f"unknown key {key[:80]!r}")


def _is_path(value: str) -> bool:
    """Whether a text can be a path; Linux allows 255 bytes per component."""
    path = value.encode()
    names = path.split(b"/")
    return value.isprintable() and len(path) <= _MAX_PATH and max(map(len, names)) < 256


def _names(value: str) -> list[str]:
    if not (value.startswith("{") and value.endswith("}")):
        raise ValueError(f"expected a list in braces, got {value[:80]!r}")
    names = value.strip("{} ").upper().split()
    if len(names) > _MAX_NAMES:
        raise ValueError(f"a list has more than {_MAX_NAMES} names")
    return names


def _number(value: str) -> float:
    try:
        number = float(value)
    except ValueError:
        raise ValueError(f"expected a number, got {value[:80]!r}") from None
    if not math.isfinite(number) or abs(number) > _MAX_NUMBER:
        raise ValueError(
            f"expected a number between {-_MAX_NUMBER:g} and {_MAX_NUMBER:g}, got "
            f"{value[:80]!r}"
        )
    return number


def _count(value: str) -> int:
    if not (value.isascii() and value.isdigit()):
        raise ValueError(f"expected a whole number, 0 or more, got {value[:80]!r}")
    if len(value) > 20 or int(value) > _MAX_COUNT:
        raise ValueError(
            f"expected a whole number, at most {_MAX_COUNT:,}, got {value[:80]!r}"
        )
    return int(value)


def _switch(value: str) -> bool:
    try:
        return {"true": True, "1": True, "false": False, "0": False}[value.lower()]
    except KeyError:
        raise ValueError(f"expected true or false, got {value[:80]!r}") from None
