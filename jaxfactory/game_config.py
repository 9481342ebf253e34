"""ViZDoom's .cfg files: what they say, read with a sentence for each mistake."""

import re
from dataclasses import dataclass, field
from pathlib import Path

from jaxfactory.errors import UserError


@dataclass(kw_only=True)
class GameConfig:
    """The settings of a .cfg file that matter to the pool, with the engine's defaults.

    Attributes:
        rewards: The reward keys that the file sets, by the pool's names.
        render: Rendering switches by name.
        max_values: The largest value of a delta button, by its name.
        wads: Map files to play instead of `scenario_path`, the first that is found.
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
        """The switches as the engine's bit set; their order is the bits' order."""
        return sum(on << bit for bit, on in enumerate(self.render.values()))


# .cfg key -> (name in `rewards`, sign): each penalty has a reward of opposite sign.
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
# The pool decides these itself: what the policy sees, and how the engine runs.
_IGNORED = {
    "mode", "seed", "ticrate", "screen_resolution", "screen_format", "window_visible",
    "console_enabled", "sound_enabled", "audio_buffer_enabled", "audio_sampling_rate",
    "audio_buffer_size", "depth_buffer_enabled", "labels_buffer_enabled",
    "automap_buffer_enabled", "objects_info_enabled", "sectors_info_enabled",
    "notifications_buffer_enabled", "notifications_buffer_size", "render_all_frames",
    "vizdoom_path", "doom_game_path", "doom_config_path",
}  # fmt: skip


def read_cfg(path: Path) -> GameConfig:
    """Read a .cfg file.

    Raises:
        UserError: If it cannot be read or a line of it cannot be understood.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {path}: {error}") from error
    config = GameConfig(path=path)
    for number, key, value, append in _entries(text, path):
        try:
            _apply(config, key, value, append=append)
        except ValueError as error:
            raise UserError(f"{path}, line {number}: {error}") from error
    if not config.buttons:
        raise UserError(f"{path} names no available_buttons, so there is nothing to do")
    config.start_time = max(config.start_time, 1)
    config.skill = min(max(config.skill, 1), 5)
    return config


def _entries(text: str, path: Path):
    """Yield (line number, key, value, whether it appends) of each setting."""
    lines = [line.strip() for line in text.splitlines()]
    position = 0
    while position < len(lines):
        number, line = position + 1, lines[position]
        position += 1
        if not line or line.startswith("#"):
            continue
        match = re.match(r"([A-Za-z0-9_ ]+?)\s*(\+?=)\s*(.*)$", line)
        if match is None:
            raise UserError(
                f"{path}, line {number}: expected 'key = value', got {line!r}"
            )
        key, operator, value = match.groups()
        listed = value.startswith("{")
        listed = listed or (not value and _list_follows(lines[position:]))
        while listed and "}" not in value and position < len(lines):
            if not lines[position].startswith("#"):
                value += " " + lines[position]
            position += 1
        yield number, _snake(key), value.strip(), operator == "+="


def _list_follows(lines: list[str]) -> bool:
    following = next((x for x in lines if x and not x.startswith("#")), "")
    return following.startswith("{")


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
    elif key == "game_args":
        if not append:
            config.game_args.clear()
        config.game_args.extend(value.split())
    elif key in _REWARD_KEYS:
        name, sign = _REWARD_KEYS[key]
        config.rewards[name] = sign * _number(value)
    elif key in _COUNT_KEYS:
        setattr(config, _COUNT_KEYS[key], _count(value))
    elif key == "doom_scenario_path":
        config.scenario_path = value
    elif key == "doom_map":
        config.map = value.lower()
    elif key == "button_max_value":
        button, _, number = value.partition(" ")
        config.max_values[button.upper()] = _number(number)
    elif key == "automap_mode":
        if value.lower() not in _AUTOMAP_MODES:
            known = ", ".join(_AUTOMAP_MODES)
            raise ValueError(f"expected one of {known}, got {value!r}")
        config.automap_mode = _AUTOMAP_MODES.index(value.lower())
    elif key.removeprefix("render_") in config.render:
        config.render[key.removeprefix("render_")] = _switch(value)
    elif key not in _IGNORED:
        raise ValueError(f"unknown key {key!r}")


def _names(value: str) -> list[str]:
    if not (value.startswith("{") and value.endswith("}")):
        raise ValueError(f"expected a list in braces, got {value!r}")
    return value.strip("{} ").upper().split()


def _number(value: str) -> float:
    try:
        return float(value)
    except ValueError:
        raise ValueError(f"expected a number, got {value!r}") from None


def _count(value: str) -> int:
    if not value.isdigit():
        raise ValueError(f"expected a whole number, 0 or more, got {value!r}")
    return int(value)


def _switch(value: str) -> bool:
    try:
        return {"true": True, "1": True, "false": False, "0": False}[value.lower()]
    except KeyError:
        raise ValueError(f"expected true or false, got {value!r}") from None
