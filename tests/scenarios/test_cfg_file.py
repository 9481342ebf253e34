"""ViZDoom's .cfg files: each key, each way to write it, a sentence for mistakes."""

import re

import pytest

from jaxfactory._util.errors import UserError
from jaxfactory.scenarios.cfg_file import read_cfg


BUTTONS = "available_buttons = { ATTACK }\n"


@pytest.fixture
def read(tmp_path):
    def read(text: str):
        path = tmp_path / "a.cfg"
        path.write_text(text)
        return read_cfg(path)

    return read


def test_the_defaults(read):
    config = read(BUTTONS)
    assert (config.map, config.skill, config.timeout, config.start_time) == (
        "map01", 3, 0, 1,
    )  # fmt: skip
    assert config.buttons == ["ATTACK"]
    assert not config.rewards
    assert config.scenario_path == ""
    # Weapon 4, decals 16, particles 32, sprites 64, textures 512, corpses 2048 and
    # flashes 4096 are the bits that are set.
    assert config.render_mode == 4 + 16 + 32 + 64 + 512 + 2048 + 4096


@pytest.mark.parametrize(
    ("line", "name", "value"),
    [
        ("living_reward = 0.5", "living", 0.5),
        ("death_penalty = 3", "death_penalty", 3),
        ("death_reward = 3", "death_penalty", -3),
        ("map_exit_reward = 1", "map_exit", 1),
        ("kill_reward = 1", "kill", 1),
        ("secret_reward = 1", "secret", 1),
        ("item_reward = 1", "item", 1),
        ("frag_reward = 1", "frag", 1),
        ("hit_reward = 1", "hit", 1),
        ("hit_taken_penalty = 2", "hit_taken_penalty", 2),
        ("hit_taken_reward = 2", "hit_taken_penalty", -2),
        ("damage_made_reward = 1", "damage_made", 1),
        ("damage_taken_penalty = 2", "damage_taken_penalty", 2),
        ("damage_taken_reward = -2", "damage_taken_penalty", 2),
        ("health_reward = 1e-3", "health", 0.001),
        ("armor_reward = 1", "armor", 1),
        ("livingReward=-1", "living", -1),
    ],
)
def test_rewards(read, line, name, value):
    assert read(BUTTONS + line).rewards == {name: value}


@pytest.mark.parametrize(
    ("line", "field", "value"),
    [
        ("doom_skill = 5", "skill", 5),
        ("doom_skill = 9", "skill", 5),
        ("doom_skill = 0", "skill", 1),
        ("episode_timeout = 2100", "timeout", 2100),
        ("episodeTimeout = 2100", "timeout", 2100),
        ("episode_start_time = 14", "start_time", 14),
        ("episode_start_time = 0", "start_time", 1),
        ("doom_scenario_path = My Map.wad", "scenario_path", "My Map.wad"),
        ("doom_map = MAP02", "map", "map02"),
        ("button_max_value = turn_left_right_delta 2.5", "max_values",
         {"TURN_LEFT_RIGHT_DELTA": 2.5}),
        ("automap_mode = whole", "automap_mode", 1),
        ("game_args = +a 1 +b 2", "game_args", ["+a", "1", "+b", "2"]),
        ("game_args = +a 1\ngame_args += +b 2", "game_args", ["+a", "1", "+b", "2"]),
        ("game_args = +a 1\ngame_args = +b 2", "game_args", ["+b", "2"]),
        ("available_game_variables = { health  ammo2 }", "variables",
         ["HEALTH", "AMMO2"]),
        ("available_game_variables = { HEALTH }\n"
         "available_game_variables += { AMMO2 HEALTH }", "variables",
         ["HEALTH", "AMMO2"]),
        ("available_game_variables = { }", "variables", []),
        ("mode = PLAYER\nwindow_visible = true\nscreen_resolution = RES_640X480",
         "skill", 3),
    ],
)  # fmt: skip
def test_settings(read, line, field, value):
    assert getattr(read(BUTTONS + line), field) == value


@pytest.mark.parametrize(
    "text",
    [
        "available_buttons = { MOVE_LEFT ATTACK }",
        "available_buttons = {\n  MOVE_LEFT\n  # not this one\n  ATTACK\n}",
        "available_buttons =\n{\n  MOVE_LEFT\n  ATTACK }",
        "available_buttons =\n\n# why\n  {\n  MOVE_LEFT ATTACK\n}\ndoom_skill = 2",
        "# first\n\n  availableButtons={MOVE_LEFT ATTACK}  \n",
        "available_buttons = { MOVE_LEFT }\navailable_buttons += { ATTACK }",
        "available_buttons = { USE }\r\navailable_buttons = { MOVE_LEFT ATTACK }\r\n",
    ],
)
def test_lists_over_several_lines(read, text):
    assert read(text).buttons == ["MOVE_LEFT", "ATTACK"]


@pytest.mark.parametrize("name", ["hud", "crosshair", "corpses", "screen_flashes"])
def test_render_switches(read, name):
    on = read(f"{BUTTONS}render_{name} = true").render_mode
    off = read(f"{BUTTONS}render_{name} = 0").render_mode
    bits = {"hud": 1, "crosshair": 8, "corpses": 2048, "screen_flashes": 4096}
    assert on - off == bits[name]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("living_reward = much", "line 2: expected a number, got 'much'"),
        (
            "episode_timeout = -5",
            "line 2: expected a whole number, 0 or more, got '-5'",
        ),
        ("\n\nkill_rewards = 1", "line 4: unknown key 'kill_rewards'"),
        ("render_hud = maybe", "line 2: expected true or false, got 'maybe'"),
        ("available_buttons = ATTACK", "line 2: expected a list in braces"),
        ("available_buttons = { ATTACK", "line 2: expected a list in braces"),
        ("nonsense", "line 2: expected 'key = value', got 'nonsense'"),
        ("automap_mode = some", "line 2: expected one of normal, whole, objects"),
        ("button_max_value = ATTACK", "line 2: expected a number"),
    ],
)
def test_mistakes_are_told_with_their_line(read, line, says):
    with pytest.raises(UserError, match=re.escape(says)):
        read(BUTTONS + line)


def test_files_that_cannot_work(read, tmp_path):
    with pytest.raises(UserError, match="names no available_buttons"):
        read("doom_skill = 1")
    with pytest.raises(UserError, match="cannot read"):
        read_cfg(tmp_path / "none.cfg")
    (tmp_path / "binary.cfg").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="cannot read"):
        read_cfg(tmp_path / "binary.cfg")
