"""What the pool must equal: `vizdoom.DoomGame`, driven through its public API."""

import contextlib
import os
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import vizdoom

from jaxfactory.scenarios import scenario_table
from jaxfactory.scenarios.scenario_table import Scenario


_INSTANCE = re.compile(rb"viz_instance_id\0(\w+)")


class Played(NamedTuple):
    """One decision as DoomGame reports it; `screen` is None at an episode's end."""

    screen: np.ndarray | None
    reward: float
    variables: list[float]
    dead: bool
    finished: bool
    timed_out: bool
    length: int
    first_screen: np.ndarray | None  # of the next episode


def make_game(
    scenario: str | Scenario, *, seed: int, width=160, height=120
) -> vizdoom.DoomGame:
    """A game on the same files and settings as the pool's."""
    row = _row(scenario)
    game = vizdoom.DoomGame()
    game.load_config(str(row.cfg))
    game.set_doom_scenario_path(str(scenario_table.find_wad(row.load())))
    resolution = getattr(vizdoom.ScreenResolution, f"RES_{width}X{height}")
    game.set_screen_resolution(resolution)
    game.set_screen_format(vizdoom.ScreenFormat.RGB24)
    game.set_window_visible(False)
    game.set_mode(vizdoom.Mode.PLAYER)
    game.set_seed(seed)
    return game


def start(game: vizdoom.DoomGame) -> None:
    """Start a game, and take the names away of what it shares with its engine.

    Both have it open by then. A name would stay if this process were killed.
    """
    before = instances()
    game.init()
    for instance in instances() - before:
        for path in Path("/dev/shm").glob(f"ViZDoom*{instance}"):
            path.unlink()


def instances() -> set[str]:
    """Return the ids of the engines that this process has started."""
    found: set[str] = set()
    for task in Path(f"/proc/{os.getpid()}/task").iterdir():
        for pid in (task / "children").read_text().split():
            with contextlib.suppress(OSError):
                line = Path(f"/proc/{pid}/cmdline").read_bytes()
                found |= {name.decode() for name in _INSTANCE.findall(line)}
    return found


def _row(scenario: str | Scenario) -> Scenario:
    return scenario_table.find(scenario) if isinstance(scenario, str) else scenario


def button_values(scenario: str | Scenario) -> list[list[dict[str, float]]]:
    """For each head, for each index, the buttons that it sets."""
    row = _row(scenario)
    heads = scenario_table.action_heads(row, row.load())
    return [[dict(choice) for choice in head] for head in heads]


def play(
    scenario: str, *, seed: int, actions: np.ndarray, variables: list[str], frame_skip=4
):
    """Yield the first screen, then one `Played` for each action, [N, heads]."""
    game = make_game(scenario, seed=seed)
    start(game)
    try:
        heads = button_values(scenario)
        names = [button.name for button in game.get_available_buttons()]
        wanted = [getattr(vizdoom.GameVariable, name) for name in variables]
        yield game.get_state().screen_buffer.copy()
        opened = game.get_episode_time()
        for action in actions:
            held: dict[str, float] = {}
            for head, index in zip(heads, action):
                held |= head[index]
            reward = game.make_action([held.get(n, 0.0) for n in names], frame_skip)
            finished = game.is_episode_finished()
            screen = None if finished else game.get_state().screen_buffer.copy()
            played = Played(
                screen, reward, [game.get_game_variable(v) for v in wanted],
                game.is_player_dead(), finished, game.is_episode_timeout_reached(),
                game.get_episode_time() - opened, None,
            )  # fmt: skip
            if finished:
                game.new_episode()
                opened = game.get_episode_time()
                played = played._replace(
                    first_screen=game.get_state().screen_buffer.copy()
                )
            yield played
    finally:
        game.close()


def buffers(scenario: str, *, seed: int, actions: np.ndarray, grayscale: bool):
    """Yield the screen, depth, labels and automap as channels, [H, W, C]."""
    game = make_game(scenario, seed=seed)
    screen = vizdoom.ScreenFormat.GRAY8 if grayscale else vizdoom.ScreenFormat.RGB24
    game.set_screen_format(screen)
    game.set_depth_buffer_enabled(True)
    game.set_labels_buffer_enabled(True)
    game.set_automap_buffer_enabled(True)
    start(game)

    def image() -> np.ndarray:
        state = game.get_state()
        parts = (
            state.screen_buffer, state.depth_buffer, state.labels_buffer,
            state.automap_buffer,
        )  # fmt: skip
        return np.concatenate([np.atleast_3d(part) for part in parts], axis=2)

    try:
        heads = button_values(scenario)
        names = [button.name for button in game.get_available_buttons()]
        yield image()
        for action in actions:
            held: dict[str, float] = {}
            for head, index in zip(heads, action):
                held |= head[index]
            game.make_action([held.get(n, 0.0) for n in names], 4)
            assert not game.is_episode_finished()
            yield image()
    finally:
        game.close()
