"""Shaped rewards and measurements against the slow reference, over whole episodes."""

import numpy as np
import pytest
from doom_reference import button_values
from scenario_wads import needs_wad
from shaping_reference import VARIABLES, Frags, Gathering, Nothing, measurements, play

from jaxfactory.config.env import EnvConfig
from jaxfactory.envs.doom.pool import EnvPool
from jaxfactory.scenarios import scenario_table, shaping
from jaxfactory.scenarios.scenario_table import Scenario


pytestmark = pytest.mark.vizdoom

# A map with monsters, armour, all weapons and ammunition, played by one player.
WEAPONS_CFG = f"""
doom_scenario_path = deathmatch.wad
doom_skill = 3
episode_timeout = 700
living_reward = 0.125
available_buttons = {{ MOVE_FORWARD MOVE_BACKWARD MOVE_RIGHT MOVE_LEFT SELECT_WEAPON1
  SELECT_WEAPON2 SELECT_WEAPON3 SELECT_WEAPON4 SELECT_WEAPON5 SELECT_WEAPON6
  SELECT_WEAPON7 ATTACK SPEED TURN_LEFT_RIGHT_DELTA }}
available_game_variables = {{ {" ".join(VARIABLES)} }}
"""


def held_actions(heads, decisions: int, seed: int) -> np.ndarray:
    """Random actions, each held for some decisions, so that the player gets about."""
    rng = np.random.default_rng(seed)
    actions = rng.integers(0, heads, (decisions, len(heads)))
    for head in range(len(heads)):
        changes = rng.random(decisions) < 0.2
        changes[0] = True
        actions[:, head] = actions[
            np.maximum.accumulate(np.where(changes, np.arange(decisions), 0)), head
        ]
    return actions.astype(np.int32)


def compare(scenario: Scenario, scheme, decisions: int, absent=(), ends=2) -> None:
    """Play a pool and `DoomGame` side by side; all they tell must be equal."""
    config = EnvConfig(num_envs=1, num_groups=1)
    with EnvPool(config, scenario=scenario, seed=3) as pool:
        actions = held_actions(pool.spec.action.heads, decisions, 4)
        heads = button_values(scenario)
        buttons = [
            {b: v for head, i in zip(heads, row) for b, v in head[i].items()}
            for row in actions
        ]
        reference = play(scenario, seed=pool.seeds[0], buttons=buttons)
        first = next(reference)
        step = pool.reset()
        measured = pool.spec.observation.measurements > 0
        assert measured == ("measurements" in step.observation)

        def equal(found, variables, where):
            if measured:
                wanted = np.array(measurements(variables, absent), np.float32)
                np.testing.assert_array_equal(found[0], wanted, where)

        equal(step.measurements, first, "reset")
        scheme.open(first)
        total, episodes = 0.0, 0
        for number, (action, told) in enumerate(zip(actions, reference, strict=True)):
            where = f"decision {number}"
            step = pool.step(action[None])
            shaped = told.reward + scheme.decide(told.variables, last=told.finished)
            reward = shaped * scenario.reward_scale
            total += reward
            assert step.reward[0] == np.float32(reward), where
            assert step.info.raw_reward[0] == told.reward, where
            assert step.info.episode_shaped_return[0] == np.float32(total), where
            assert step.is_first[0] == told.finished, where
            if told.finished:
                equal(step.info.final_measurements, told.variables, where)
                equal(step.measurements, told.first_variables, where)
                scheme.open(told.first_variables)
                total, episodes = 0.0, episodes + 1
            else:
                equal(step.measurements, told.variables, where)
    assert episodes >= ends


@pytest.mark.parametrize(
    ("version", "table"), [("v0", shaping.FRAGS_V0), ("v1", shaping.FRAGS_V1)]
)
def test_frags(tmp_path, version, table):
    cfg = tmp_path / "weapons.cfg"
    cfg.write_text(WEAPONS_CFG)
    scenario = Scenario(
        name="weapons", cfg=cfg, shaping=table, measurements="standard",
        reward_scale=0.5,
    )  # fmt: skip
    scheme = Frags(version)
    compare(scenario, scheme, 900)
    assert scheme.paid >= {
        "HEALTH fell", "HEALTH rose", "HITCOUNT rose", "DAMAGECOUNT rose", "held",
        "AMMO2 fell", "AMMO2 rose",
    }, scheme.paid  # fmt: skip


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=needs_wad(n)) for n in ("battle", "battle2")]
)
def test_battle(name):
    present = {"SELECTED_WEAPON", "SELECTED_WEAPON_AMMO", "HEALTH", "USER2",
               "PLAYER_COUNT"}  # fmt: skip
    scheme = Frags("v0", only=("HEALTH",))
    absent = tuple(name for name in VARIABLES if name not in present)
    compare(scenario_table.find(name), scheme, 1100, absent)
    assert scheme.paid >= {"HEALTH fell", "held"}


@pytest.mark.parametrize(
    "name",
    [
        "health_gathering_supreme",
        pytest.param("two_colors_easy", marks=needs_wad("two_colors_easy")),
        pytest.param("two_colors_hard", marks=needs_wad("two_colors_hard")),
    ],
)
def test_gathering(name):
    scheme = Gathering()
    compare(scenario_table.find(name), scheme, 1100)
    assert scheme.paid == {"rose"}


def test_the_wheels_deathmatch_has_measurements():
    present = {"HEALTH", "ARMOR", "SELECTED_WEAPON", "SELECTED_WEAPON_AMMO",
               "PLAYER_COUNT"}  # fmt: skip
    absent = tuple(name for name in VARIABLES if name not in present)
    compare(scenario_table.find("deathmatch"), Nothing(), 100, absent, ends=0)
