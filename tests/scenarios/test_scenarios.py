"""The table, word for word; where maps are looked for; what the listing says."""

import re
import sys
from pathlib import Path

import pytest

from jaxfactory._util.errors import UserError
from jaxfactory.cli import listing, main
from jaxfactory.scenarios import scenario_table
from jaxfactory.scenarios.maps import wad_files
from jaxfactory.scenarios.scenario_table import Scenario, find


# name: (reward scale, time-out, start, living, death, skill; hud, weapon, crosshair)
TABLE = {
    "basic": (0.01, 300, 14, -1, 0, 5, "hud weapon"),
    "my_way_home": (1, 2100, 10, -0.0001, 0, 5, "weapon"),
    "my_way_home_flat": (1, 2100, 10, -0.0001, 0, 5, "weapon"),
    "deadly_corridor": (0.01, 2100, 1, 0, 100, 5, "hud weapon"),
    "defend_the_center": (1, 2100, 10, 0, 1, 3, "hud weapon"),
    "defend_the_center_flat": (1, 2100, 10, 0, 1, 3, "hud weapon"),
    "defend_the_line": (1, 0, 10, 0, 1, 3, "hud weapon"),
    "health_gathering": (1, 2100, 1, 0.01, 0, 3, ""),
    "health_gathering_supreme": (1, 2100, 1, 0.01, 0, 3, ""),
    "battle": (1, 2100, 1, 0, 0, 2, "hud weapon crosshair"),
    "battle2": (1, 2100, 1, 0, 0, 2, "hud weapon crosshair"),
    "benchmark": (1, 2100, 1, 0, 0, 2, "hud weapon crosshair"),
    "two_colors_easy": (1, 2100, 1, 0.01, 0, 3, ""),
    "two_colors_hard": (1, 2100, 1, 0.01, 0, 3, ""),
}
FRAGS = ("battle", "battle2", "duel_bots", "deathmatch_bots", "duel", "deathmatch_full",
         "dm", "dwango5")  # fmt: skip
SHAPED = {"health_gathering", "health_gathering_supreme", "two_colors_easy",
          "two_colors_hard", *FRAGS}  # fmt: skip
MEASURED = dict.fromkeys((*FRAGS, "deathmatch"), 23)


@pytest.mark.parametrize("name", TABLE)
def test_the_table(name):
    row = find(name)
    game = row.load()
    shown = " ".join(n for n in ("hud", "weapon", "crosshair") if game.render[n])
    assert TABLE[name] == (
        row.reward_scale, game.timeout, game.start_time,
        game.rewards.get("living", 0), game.rewards.get("death_penalty", 0),
        game.skill, shown,
    )  # fmt: skip
    assert not game.render["decals"]
    assert not game.render["particles"]


def test_shaping_and_measurements():
    for name in scenario_table.names():
        row = find(name)
        assert bool(row.shaping) == (name in SHAPED), name
        assert len(row.measured(row.load())) == MEASURED.get(name, 0), name


def test_a_cfg_s_variables_are_its_measurements(tmp_path):
    cfg = tmp_path / "own.cfg"
    cfg.write_text(
        "doom_scenario_path = basic.wad\navailable_buttons = { ATTACK }\n"
        "available_game_variables = { AMMO2 POSITION_X }\n"
    )
    row = find(str(cfg))
    measured = row.measured(row.load())
    assert [(m.variable, m.divisor, m.cap) for m in measured] == [
        ("AMMO2", 1, 0), ("POSITION_X", 1, 0),
    ]  # fmt: skip


@pytest.fixture
def bare(monkeypatch):
    """A machine on which only vizdoom is installed."""
    found = wad_files._package_folder

    def only_vizdoom(name):
        return found(name) if name == "vizdoom" else None

    monkeypatch.setattr(wad_files, "_package_folder", only_vizdoom)
    monkeypatch.delenv(wad_files.WAD_PATH_VARIABLE, raising=False)


def test_a_missing_map_says_where_it_was_looked_for_and_who_brings_it(bare):
    with pytest.raises(UserError) as caught:
        scenario_table.find_wad(find("battle").load())
    sentence = str(caught.value)
    assert sentence.startswith("the map D3_battle.wad or battle.wad of battle.cfg is")
    for part in (
        str(scenario_table.CFG_FOLDER),
        str(wad_files.wheel_scenarios()),
        "`pip install envpool-assets` installs it",
        "JAXFACTORY_WAD_PATH",
    ):
        assert part in sentence
    with pytest.raises(
        UserError, match="`pip install --no-deps sample-factory` installs it"
    ):
        scenario_table.find_wad(find("two_colors_hard").load())


def test_where_maps_are_looked_for(tmp_path, monkeypatch):
    folders = {
        name: tmp_path / name for name in ("mine", "sf_examples", "envpool_assets")
    }
    monkeypatch.setattr(
        wad_files, "_package_folder",
        lambda name: folders.get(name) or tmp_path / "vizdoom",
    )  # fmt: skip
    extra = tmp_path / "extra"
    monkeypatch.setenv(wad_files.WAD_PATH_VARIABLE, f"{tmp_path}/nowhere:{extra}")
    places = [
        folders["mine"],
        tmp_path / "vizdoom" / "scenarios",
        folders["envpool_assets"] / "vizdoom" / "maps",
        extra,
        folders["sf_examples"] / "vizdoom" / "doom" / "scenarios",
    ]
    for place in places:
        place.mkdir(parents=True)
    cfg = folders["mine"] / "own.cfg"
    cfg.write_text("doom_scenario_path = own.wad\navailable_buttons = { ATTACK }\n")
    # The last is searched last: fill the places from behind.
    for place in reversed(places):
        (place / "own.wad").touch()
        assert scenario_table.find_wad(find(str(cfg)).load()) == place / "own.wad"
    # The first name goes before the first place.
    row = Scenario(name="own", cfg=cfg, wads=("other.wad", "own.wad"))
    (extra / "other.wad").touch()
    assert scenario_table.find_wad(row.load()) == extra / "other.wad"


def test_the_packages_are_not_imported():
    for name in scenario_table.names():
        try:
            scenario_table.find_wad(find(name).load())
        except UserError:
            continue
    assert not {"envpool_assets", "sf_examples", "envpool"} & set(sys.modules)


def test_the_listing_tells_what_is_ready(bare, capsys):
    assert main.main(["scenarios"]) == 0
    states = {row.name: (row.state, row.remedy) for row in listing.table()}
    assert states["basic"] == states["deathmatch"] == ("ready", "")
    assert states["battle"] == ("missing", "pip install envpool-assets")
    assert states["two_colors_easy"] == (
        "missing",
        "pip install --no-deps sample-factory",
    )
    files = {row.name: row.files for row in listing.table()}
    assert files["battle"].endswith("D3_battle.wad or battle.wad (missing)")
    said = re.sub(r"\W+", " ", capsys.readouterr().out)
    assert re.search("maps of battle .*come with pip install envpool assets", said)


def test_the_listing_tells_where_a_map_lies(tmp_path, monkeypatch, bare):
    (tmp_path / "two_colors_easy.wad").touch()
    monkeypatch.setenv(wad_files.WAD_PATH_VARIABLE, str(tmp_path))
    rows = {row.name: row for row in listing.table()}
    assert rows["two_colors_easy"].state == "ready"
    assert f"two_colors_easy.wad ({tmp_path})" in rows["two_colors_easy"].files
    assert "basic.wad (vizdoom)" in rows["basic"].files
    assert Path(rows["basic"].files.split()[0]).suffix == ".cfg"
