"""Action heads: what each index presses, by a literal table and by the engine."""

import numpy as np
import pytest
from scenario_wads import needs_wad
from shaping_reference import play

from jaxfactory.config.env import EnvConfig
from jaxfactory.envs.doom.pool import EnvPool
from jaxfactory.scenarios import action_heads, scenario_table
from jaxfactory.scenarios.action_heads import Delta
from jaxfactory.scenarios.cfg_file import GameConfig
from jaxfactory.scenarios.scenario_table import Scenario


def one_of(*buttons: str) -> list[dict[str, float]]:
    """A head of its own "nothing" and single buttons."""
    return [{}, *({button: 1.0} for button in buttons)]


TURN = one_of("TURN_LEFT", "TURN_RIGHT")
RUN = one_of("MOVE_FORWARD", "MOVE_BACKWARD")
ATTACK = one_of("ATTACK")
# Degrees a tic, from left to right; the middle is nothing.
ELEVEN = [{} if d == 0 else {"TURN_LEFT_RIGHT_DELTA": d} for d in range(-10, 11, 2)]
BATTLE = [RUN, one_of("MOVE_RIGHT", "MOVE_LEFT"), ATTACK, one_of("SPEED"), ELEVEN]
GATHERING = [one_of("TURN_LEFT", "TURN_RIGHT", "MOVE_FORWARD", "MOVE_BACKWARD")]
EXPECTED = {
    "basic": [one_of("MOVE_LEFT", "MOVE_RIGHT", "ATTACK")],
    "my_way_home": [TURN, RUN],
    "my_way_home_flat": GATHERING,
    "deadly_corridor": [TURN, RUN, one_of("MOVE_LEFT", "MOVE_RIGHT"), ATTACK],
    "defend_the_center": [TURN, ATTACK],
    "defend_the_center_flat": [one_of("TURN_LEFT", "TURN_RIGHT", "ATTACK")],
    "defend_the_line": [TURN, ATTACK],
    "health_gathering": GATHERING,
    "health_gathering_supreme": GATHERING,
    "battle": BATTLE,
    "battle2": BATTLE,
    "benchmark": [
        one_of(
            "MOVE_FORWARD", "MOVE_BACKWARD", "MOVE_RIGHT", "MOVE_LEFT", "TURN_RIGHT",
            "TURN_LEFT", "ATTACK", "SPEED",
        )
    ],
    "two_colors_easy": [TURN, RUN],
    "two_colors_hard": [TURN, RUN],
}  # fmt: skip


@pytest.mark.parametrize("name", EXPECTED)
def test_the_table(name):
    scenario = scenario_table.find(name)
    found = scenario_table.action_heads(scenario, scenario.load())
    assert [[dict(choice) for choice in head] for head in found] == EXPECTED[name]


def test_weapons_share_a_head_and_turning_is_discretized():
    weapons = [f"SELECT_WEAPON{i}" for i in range(1, 8)]
    config = GameConfig(
        path=scenario_table.CFG_FOLDER,
        buttons=["MOVE_FORWARD", *weapons, "USE", "TURN_LEFT_RIGHT_DELTA"],
    )
    found = action_heads.grouped(config, Delta(21, 12.5))
    spec = action_heads.action_spec(found)
    assert spec.heads == (2, 8, 2, 21)
    assert spec.names[1] == ("NOTHING", *weapons)
    degrees = [dict(choice).get("TURN_LEFT_RIGHT_DELTA", 0.0) for choice in found[3]]
    assert degrees[:3] == [-12.5, -11.25, -10.0]
    assert degrees[10] == 0.0
    assert found[3][10] == ()
    assert degrees[20] == 12.5


def test_without_a_row_of_its_own_a_delta_button_begins_with_nothing():
    config = GameConfig(
        path=scenario_table.CFG_FOLDER,
        buttons=["TURN_LEFT_RIGHT_DELTA"],
        max_values={"TURN_LEFT_RIGHT_DELTA": 5.0},
    )
    (head,) = action_heads.grouped(config)
    values = [dict(choice).get("TURN_LEFT_RIGHT_DELTA", 0.0) for choice in head]
    assert values == [0, -5, -4, -3, -2, -1, 1, 2, 3, 4, 5]


@pytest.mark.vizdoom
@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=needs_wad(name)) for name in EXPECTED],
)
def test_each_index_does_what_its_buttons_do(name):
    """One decision with each index of each head, beside a game given the buttons."""
    sizes = [len(head) for head in EXPECTED[name]]
    actions, buttons = [], []
    for number, head in enumerate(EXPECTED[name]):
        for index, held in enumerate(head):
            rest = [h[0] for h in EXPECTED[name]]
            rest[number] = held
            actions.append([index if i == number else 0 for i in range(len(sizes))])
            buttons.append({b: v for one in rest for b, v in one.items()})
    config = EnvConfig(num_envs=1, num_groups=1)
    names = ["POSITION_X", "POSITION_Y", "ANGLE", "VELOCITY_X", "VELOCITY_Y", "AMMO2"]
    scenario = scenario_table.find(name)
    with EnvPool(config, scenario=scenario, seed=5, variables=names) as pool:
        assert pool.spec.action.heads == tuple(sizes)
        told = play(scenario, seed=pool.seeds[0], buttons=buttons, variables=names)
        first = next(told)
        found = [pool.reset().info.game_variables[0].tolist()]
        wanted = [list(first.values())]
        for action, decision in zip(actions, told, strict=True):
            step = pool.step(np.array([action], np.int32))
            found.append(step.info.game_variables[0].tolist())
            wanted.append(list(decision.variables.values()))
    assert found == wanted
    assert len({tuple(row) for row in found}) > len(sizes)


@pytest.mark.vizdoom
def test_a_discretized_index_turns_by_its_degrees(tmp_path):
    cfg = tmp_path / "turning.cfg"
    cfg.write_text(
        "doom_scenario_path = basic.wad\nepisode_start_time = 20\n"
        "available_buttons = { TURN_LEFT_RIGHT_DELTA }\n"
        "available_game_variables = { ANGLE }\n"
    )
    scenario = Scenario(name="turning", cfg=cfg, delta=Delta(11, 10.0))
    config = EnvConfig(num_envs=1, num_groups=1)
    with EnvPool(config, scenario=scenario) as pool:
        angle = pool.reset().info.game_variables[0, 0]
        for index in range(11):
            step = pool.step(np.array([[index]], np.int32))
            turned = (step.info.game_variables[0, 0] - angle + 180) % 360 - 180
            angle = step.info.game_variables[0, 0]
            # Angles grow to the left; 4 tics a decision.
            assert turned == pytest.approx(-4 * (-10 + 2 * index), abs=0.05)
