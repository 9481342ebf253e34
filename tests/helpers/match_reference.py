"""Games against bots as `vizdoom.DoomGame` plays them."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import vizdoom
from doom_reference import button_values, make_game, start
from shaping_reference import VARIABLES

from jaxfactory.scenarios.scenario_table import Scenario


# The field's rules, written out: minutes and the delay are the scenario's.
RULES = (
    "-host 1 -deathmatch +timelimit {minutes} +sv_forcerespawn 1 +sv_noautoaim 1 "
    "+sv_respawnprotect 1 +sv_spawnfarthest 1 +sv_nocrouch 1 +sv_nojump 1 "
    "+sv_nofreelook 1 +sv_noexit 1 +viz_respawn_delay {delay} +name Agent1 +colorset 0"
)


class Seen(NamedTuple):
    """What a game shows; `frags` are all players', the agent's first."""

    screen: np.ndarray | None  # None where the episode has ended
    variables: dict[str, float]
    frags: list[int]
    dead: bool
    finished: bool
    timed_out: bool
    tic: int


def play(scenario: Scenario, *, seed: int, actions: np.ndarray) -> Iterator[Seen]:
    """Yield the first state, then the state after each action.

    Where an action ended an episode, its last state comes first and then the first one
    of the next episode.
    """
    match = scenario.match
    assert match is not None
    game = make_game(scenario, seed=seed)
    game.set_episode_timeout(0)
    game.add_game_args(RULES.format(minutes=match.minutes, delay=match.respawn_delay))
    start(game)

    def call_bots() -> None:
        game.send_game_command("removebots")
        for _ in range(match.bots):
            game.send_game_command("addbot")

    def look() -> Seen:
        finished = game.is_episode_finished()
        server = game.get_server_state()
        return Seen(
            None if finished else game.get_state().screen_buffer.copy(),
            {
                name: game.get_game_variable(getattr(vizdoom.GameVariable, name))
                for name in VARIABLES
            },
            [
                frags
                for frags, plays in zip(server.players_frags, server.players_in_game)
                if plays
            ],
            game.is_player_dead(),
            finished,
            game.is_episode_timeout_reached(),
            server.tic,
        )

    try:
        heads = button_values(scenario)
        names = [button.name for button in game.get_available_buttons()]
        call_bots()
        yield look()
        for action in actions:
            held: dict[str, float] = {}
            for head, index in zip(heads, action):
                held |= head[index]
            game.make_action([held.get(n, 0.0) for n in names], 4)
            yield look()
            if game.is_episode_finished():
                game.new_episode()
                call_bots()
                yield look()
    finally:
        game.close()
