"""The configuration of the C++ environments: frame skip, rewards, buttons, engine.

`make` translates settings, a scenario and its .cfg file into `_core.DoomConfig`.
"""

import functools
import importlib.metadata
from pathlib import Path

from jaxfactory._util.errors import UserError
from jaxfactory.config.env import EnvConfig
from jaxfactory.envs.doom import engine_sandbox
from jaxfactory.envs.doom.extension import _core
from jaxfactory.scenarios import game_args
from jaxfactory.scenarios.action_heads import Head
from jaxfactory.scenarios.cfg_file import GameConfig
from jaxfactory.scenarios.maps import wad_files
from jaxfactory.scenarios.matches import Match
from jaxfactory.scenarios.measurements import Measurement
from jaxfactory.scenarios.scenario import Scenario
from jaxfactory.scenarios.shaping import HeldWeapon, Shaping


_RGB24, _GRAY8 = 1, 8


def make(
    config: EnvConfig,
    scenario: Scenario,
    game: GameConfig,
    heads: tuple[Head, ...],
    match: Match | None,
    map_path: Path,
) -> _core.DoomConfig:
    """Return the C++ core's configuration of an environment and its engine.

    Args:
        config: Sizes, formats, frame skip.
        scenario: Shaping and scale of the reward, measurements.
        game: The contents of the scenario's .cfg file.
        heads: Choices of each action head, as names and values of buttons.
        match: The match; None for single player.
        map_path: The map file.

    Raises:
        UserError: If a name, a file or the engine's version does not fit.
    """
    doom = _core.DoomConfig()
    _set_engine(doom, config, game, match, map_path)
    _set_episode(doom, config, game)
    _set_observation(doom, config, scenario, game)
    _set_reward(doom, config, scenario, game)
    _set_actions(doom, game, heads)
    return doom


def check(game: GameConfig, *, allow_game_args: bool) -> None:
    """Raise a `UserError` for another version of the engine, or unsafe game_args."""
    installed = importlib.metadata.version("vizdoom")
    if installed != _core.ENGINE_VERSION:
        raise UserError(
            f"vizdoom {installed} is installed, but this build needs the engine of "
            f"vizdoom {_core.ENGINE_VERSION}; pip install vizdoom=="
            f"{_core.ENGINE_VERSION}"
        )
    if not allow_game_args:
        game_args.check(game.game_args, game.path)


def _set_engine(
    doom: _core.DoomConfig,
    config: EnvConfig,
    game: GameConfig,
    match: Match | None,
    map_path: Path,
) -> None:
    """Set the engine's command line, its sandbox and the match."""
    line = _command_line(config, game, map_path)
    doom.engine.executable, doom.engine.arguments = line
    if config.engine == "tuned" and not config.grayscale:
        doom.engine.screen_loop = _screen_loop(doom.engine.executable)
    if match is not None:
        doom.match = _match(match)
    engine_sandbox.apply(doom.engine, in_match=match is not None and match.agents > 1)


def _set_episode(doom: _core.DoomConfig, config: EnvConfig, game: GameConfig) -> None:
    """Set the map, the frame skip and when episodes start and end."""
    doom.map = game.map
    doom.frame_skip = config.frame_skip
    doom.engine_tics = config.engine_tics
    doom.queued_tics = config.tics == "queued"
    doom.timeout = game.timeout if config.timeout is None else config.timeout
    doom.start_time = game.start_time


def _set_observation(
    doom: _core.DoomConfig, config: EnvConfig, scenario: Scenario, game: GameConfig
) -> None:
    """Set the image and the measurements."""
    doom.frame = _frame_spec(config)
    measured = scenario.measured(game) if config.measurements else ()
    doom.measurements = [_measurement(row) for row in measured]


def _set_reward(
    doom: _core.DoomConfig, config: EnvConfig, scenario: Scenario, game: GameConfig
) -> None:
    """Set the raw reward, its shaping, and scale and clip of the training reward."""
    rewards = _core.GameReward()
    for name, value in game.rewards.items():
        setattr(rewards, name, value)
    doom.reward = rewards
    if scenario.raw_reward_variable:
        doom.own_variable = variable(scenario.raw_reward_variable)
    doom.reward_scale = scenario.reward_scale
    if callable(scenario.shaping):
        return  # The pool then shapes, scales and clips; see `batch_shaping`.
    rows = scenario.shaping
    doom.shaping = [_shaping_term(row) for row in rows if isinstance(row, Shaping)]
    for row in rows:
        if isinstance(row, HeldWeapon):
            doom.held_weapon = _held_weapon(row)
    doom.trained.scale = config.reward_scale
    doom.trained.clip = config.reward_clip


def _set_actions(
    doom: _core.DoomConfig, game: GameConfig, heads: tuple[Head, ...]
) -> None:
    """Set the buttons and, for each choice of a head, which of them it presses."""
    doom.buttons = [_button(name) for name in game.buttons]
    doom.max_values = [(_button(n), v) for n, v in game.max_values.items()]
    doom.heads = [
        [[(_button(name), value) for name, value in choice] for choice in head]
        for head in heads
    ]


@functools.cache
def _screen_loop(executable: str) -> int:
    # Cached: the file is searched once per process.
    return _core.find_screen_loop(executable)


def _frame_spec(config: EnvConfig) -> _core.FrameSpec:
    frame = _core.FrameSpec()
    frame.screen_width, frame.screen_height = config.screen
    frame.width, frame.height = config.width, config.height
    frame.screen_channels = 1 if config.grayscale else 3
    frame.depth, frame.labels = config.depth, config.labels
    frame.automap = config.automap
    frame.stack = config.frame_stack
    return frame


def _match(match: Match) -> _core.MatchConfig:
    made = _core.MatchConfig()
    made.agents, made.bots, made.rules = match.agents, match.bots, match.rules()
    return made


def _shaping_term(term: Shaping) -> _core.ShapingTerm:
    made = _core.ShapingTerm()
    made.variable = variable(term.variable)
    made.rise, made.fall, made.cap = term.rise, term.fall, term.cap
    made.per_event, made.not_negative = term.per_event, term.not_negative
    return made


def _held_weapon(row: HeldWeapon) -> _core.HeldWeapon:
    made = _core.HeldWeapon()
    made.reward, made.decisions = row.reward, row.decisions
    return made


def _measurement(row: Measurement) -> _core.Measurement:
    made = _core.Measurement()
    made.variable = variable(row.variable) if row.variable else -1
    made.divisor, made.cap = row.divisor, row.cap
    made.not_negative = row.not_negative
    return made


def _button(name: str) -> int:
    index = _core.button_index(name)
    if index < 0:
        raise UserError(f"there is no button named {name!r:.60}; see ViZDoom's Button")
    return index


def variable(name: str) -> int:
    """Return a game variable's index.

    Raises:
        UserError: If it does not exist.
    """
    index = _core.variable_index(name)
    if index < 0:
        raise UserError(
            f"there is no game variable named {name!r:.60}; see ViZDoom's GameVariable"
        )
    return index


def _command_line(
    config: EnvConfig, game: GameConfig, map_path: Path
) -> tuple[str, list[str]]:
    """Return the engine's executable and its arguments, without id and seed."""
    folder = wad_files.vizdoom_folder()
    width, height = config.screen
    arguments = [
        "-iwad", str(wad_files.iwad()),
        "-file", str(map_path),
        # An engine saves its settings there on exit.
        "-config", "/dev/null",
        "+map", game.map,
        "-skill", str(game.skill),
        "-width", str(width), "-height", str(height),
        "+vid_aspect", str(_aspect(width, height)),
        "+fullscreen", "0",
        "+viz_controlled", "1",
        "+use_mouse", "0",
        "+viz_render_mode", str(game.render_mode),
        "+viz_noconsole", "1",
        "+viz_screen_format", str(_GRAY8 if config.grayscale else _RGB24),
        "+viz_window_hidden", "1",
        "+viz_noxserver", "1",
        "-noidle", "-nojoy", "-nosound", "+viz_nosound", "1",
        # Engines share a cache folder: without this, one would read the nodes of a
        # level while another writes them.
        "+gl_cachenodes", "0",
    ]  # fmt: skip
    if config.depth:
        arguments += ["+viz_depth", "1"]
    if config.labels:
        arguments += ["+viz_labels", "1"]
    if config.automap:
        mode = str(game.automap_mode)
        arguments += ["+viz_automap", "1", "+viz_automap_mode", mode]
    return str(folder / "vizdoom"), arguments + game.game_args


def _aspect(width: int, height: int) -> int:
    """Return the engine's number for a size's aspect ratio; 0 if it has none."""
    known = {(16, 9): 1, (16, 10): 2, (4, 3): 3, (5, 4): 4}
    return next((n for (w, h), n in known.items() if width * h == height * w), 0)
