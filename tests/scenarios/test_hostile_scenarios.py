"""Scenario files of a stranger's: what the engine must never be told, and bombs."""

import contextlib
import dataclasses
import os
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from jaxfactory._util.errors import UserError
from jaxfactory.cli import main
from jaxfactory.config.env import EnvConfig
from jaxfactory.envs.pool import env_spec, make_pool
from jaxfactory.scenarios import scenario_table
from jaxfactory.scenarios.cfg_file import read_cfg
from jaxfactory.scenarios.maps import wad_files


BUTTONS = "available_buttons = { MOVE_LEFT ATTACK }\n"
BASIC = f"doom_scenario_path = basic.wad\n{BUTTONS}"


def cfg_with(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "evil.cfg"
    path.write_text(BASIC + text + "\n")
    return path


@pytest.mark.parametrize(
    "words",
    [
        "+logfile ../../../.bashrc",
        "+exec /tmp/commands.cfg",
        "-config /home/user/.profile",
        "-record ../../x",
        "-savedir /home/user",
        "+writeini /home/user/.bashrc",
        "-join 192.0.2.1",
        "-host 8",
        "-file /home/user/other.pk3",
        "+sv_cheats 1;quit",
        "+sv_cheats quit",
        "+sv_cheats",
        "+sv_cheats 1 +logfile x",
        "+am_map\u00b2 1",
        "+sv_gravity \u0661",
        "+sv_motd @file",
        "+\u017fv_cheats 1",
        "sv_cheats 1",
    ],
)
def test_the_engine_is_not_told_to_write_or_to_run(tmp_path, words, capsys):
    path = cfg_with(tmp_path, f"game_args = {words}")
    with pytest.raises(UserError, match="could make the engine write files") as error:
        env_spec(EnvConfig(scenario=str(path)))
    assert "--allow-game-args" in str(error.value)
    # By the command too, before anything is made.
    run = tmp_path / "run"
    assert main.main(["train", "--scenario", str(path), "--run", str(run)]) == 2
    assert "could make the engine write files" in capsys.readouterr().err
    assert not run.exists()


def test_rules_and_the_map_view_may_be_set(tmp_path):
    path = cfg_with(
        tmp_path, "game_args = +sv_noautoaim 1 +sv_gravity 400.5 +AM_grid true"
    )
    assert env_spec(EnvConfig(scenario=str(path))).action.heads == (2, 2)


@pytest.mark.vizdoom
def test_a_file_of_ones_own_may_say_anything_where_its_owner_allows_it(tmp_path):
    log = tmp_path / "engine.log"
    path = cfg_with(tmp_path, f"game_args = +logfile {log}")
    with make_pool(str(path), num_envs=1, allow_game_args=True) as pool:
        pool.reset()
        (pid,) = pool.engine_pids
        words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    assert words[words.index("+logfile") + 1] == str(log)
    with pytest.raises(UserError, match="is for Doom"):
        EnvConfig(scenario="gymnasium:CartPole-v1", allow_game_args=True)


@pytest.mark.parametrize(
    "name", ["map01;quit", "map01 +logfile x", "../map01", "", "map_01234", "m\u00e4p"]
)
def test_a_maps_name_is_no_command(tmp_path, name):
    with pytest.raises(UserError, match="line 3: expected a map's name"):
        read_cfg(cfg_with(tmp_path, f"doom_map = {name}"))


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("living_reward = nan", "expected a number between"),
        ("living_reward = inf", "expected a number between"),
        ("kill_reward = 1e300", "expected a number between"),
        ("button_max_value = turn_left_right_delta nan", "expected a number between"),
        (f"episode_timeout = {10**12}", "a whole number, at most 1,000,000,000"),
        (f"episode_timeout = {'9' * 100_000}", "a whole number, at most"),
        ("episode_timeout = \u00b2", "expected a whole number"),
        (f"available_game_variables = {{ {'A ' * 5000} }}", "more than 256 names"),
        (f"game_args = {'+sv_x 1 ' * 5000}", "more than 512 words"),
        ("doom_scenario_path = \x1b[2Jbasic.wad", "expected the name of a map file"),
        (f"doom_scenario_path = {'x' * 5000}", "expected the name of a map file"),
        (f"doom_scenario_path = {'a/' * 5000}x.wad", "expected the name of a map"),
        (f"doom_scenario_path = {chr(233) * 190}.wad", "expected the name of a map"),
        (f"{'x' * 100_000}", "expected 'key = value'"),
        (f"{' ' * 8}a{' ' * 200_000}b", "expected 'key = value'"),
        ("\x1b[2J = 1", "expected 'key = value', got '\\x1b"),
    ],
)
def test_what_a_cfg_file_says_is_bounded(tmp_path, line, says):
    with pytest.raises(UserError) as error:
        read_cfg(cfg_with(tmp_path, line))
    assert says in str(error.value)
    assert len(str(error.value)) < 400
    assert "\x1b" not in str(error.value)


@pytest.mark.parametrize(
    "text",
    [
        # Each of these takes minutes where the work grows with the square of the size.
        "available_buttons = {\n" + "x\n" * 120_000,
        "a =\n" * 60_000,
        "available_buttons = { ATTACK }\n" + "# note\n" * 30_000,
        "available_buttons += { ATTACK }\n" * 8_000,
        " " * 250_000 + "=",
    ],
)
def test_reading_takes_no_longer_than_the_file_is_long(tmp_path, text):
    path = tmp_path / "long.cfg"
    path.write_text(text)
    with contextlib.suppress(UserError):
        assert read_cfg(path).buttons == ["ATTACK"]


def test_a_file_that_is_none_or_has_no_end(tmp_path):
    os.mkfifo(tmp_path / "pipe.cfg")
    with pytest.raises(UserError, match="it is not a regular file"):
        read_cfg(tmp_path / "pipe.cfg")
    (tmp_path / "zero.cfg").symlink_to("/dev/zero")
    with pytest.raises(UserError, match="it is not a regular file"):
        read_cfg(tmp_path / "zero.cfg")
    (tmp_path / "large.cfg").write_text("#" * (1 << 20))
    with pytest.raises(UserError, match="may have 262,144 bytes"):
        read_cfg(tmp_path / "large.cfg")


def directory(count: int, start: int, *entries: tuple[int, int, bytes]) -> bytes:
    """A WAD file of nothing but a directory."""
    lumps = b"".join(struct.pack("<ii8s", *entry) for entry in entries)
    return struct.pack("<4sii", b"PWAD", count, start) + lumps


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.pk3", b"not an archive"),
        ("a.pk3", b"PK\x03\x04 cut short"),
        ("a.wad", b"PK\x03\x04 an archive by another name"),
        ("a.zip", b"\x7fELF"),
        ("a.pk3", b"PWAD"),
        ("a.wad", directory(-1, 12)),
        ("a.wad", directory(2**31 - 1, 12)),
        ("a.wad", directory(1, 2**31 - 1, (12, 0, b"MAP01"))),
        # Lumps that begin or end beyond the file.
        ("a.wad", directory(2, 12, (0, 0, b"MAP01"), (12, 2**30, b"THINGS"))),
        ("a.wad", directory(2, 12, (0, 0, b"MAP01"), (-5, 9, b"THINGS"))),
        ("a.wad", directory(2, 12, (0, 0, b"MAP01"), (12, -9, b"THINGS"))),
    ],
)
def test_a_map_file_is_one_whatever_it_is_called(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    path = tmp_path / "evil.cfg"
    path.write_text(f"doom_scenario_path = {name}\n{BUTTONS}")
    with pytest.raises(UserError, match="is not a map") as error:
        env_spec(EnvConfig(scenario=str(path)))
    assert str(error.value).count("\n") == 0


def archive(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            name = name.replace("__", "/")
            file.writestr(name if "." in name else f"{name}.wad", content)
    return path


def test_an_archive_is_looked_into(tmp_path):
    basic = (wad_files.wheel_scenarios() / "basic.wad").read_bytes()
    game = dataclasses.replace(
        scenario_table.find("basic").load(), path=tmp_path / "a.cfg", map="map07"
    )
    archive(tmp_path / "basic.pk3", maps__MAP07=basic, **{"x.wav": b"RIFF"})
    game.wads = ["basic.pk3"]
    assert wad_files.find_map(game, wad_files.iwad()) == tmp_path / "basic.pk3"
    archive(tmp_path / "other.pk3", maps__e9m9=basic)
    game.wads, game.map = ["other.pk3"], "arena"
    with pytest.raises(UserError, match=r"no map arena in other\.pk3; it has e9m9"):
        wad_files.find_map(game, wad_files.iwad())
    archive(tmp_path / "fake.pk3", maps__arena=b"no map at all")
    game.wads = ["fake.pk3"]
    with pytest.raises(UserError, match="in it is not a map file"):
        wad_files.find_map(game, wad_files.iwad())
    # 2 GiB of zeros take 2 MB.
    with zipfile.ZipFile(tmp_path / "bomb.pk3", "w", zipfile.ZIP_DEFLATED) as file:
        for index in range(9):
            with file.open(f"maps/m{index}.wad", "w", force_zip64=True) as member:
                member.write(basic)
        file.filelist[0].file_size = 2**31
    game.wads = ["bomb.pk3"]
    with pytest.raises(UserError, match="would unpack to more than 1024 MiB"):
        wad_files.find_map(game, wad_files.iwad())


def found_in(pk3: Path, name: str = "map01") -> Path:
    """Look for a map in an archive, as a .cfg file beside it would have it."""
    cfg = pk3.with_name("a.cfg")
    cfg.write_text(f"doom_scenario_path = {pk3.name}\ndoom_map = {name}\n{BUTTONS}")
    return wad_files.find_map(read_cfg(cfg), wad_files.iwad())


EVIL = directory(10**6, 2**30)
BEYOND = directory(2, 12, (0, 0, b"MAP01"), (12, 2**30, b"THINGS"))


@pytest.mark.parametrize(
    "members",
    [
        {"maps__map01": EVIL},
        {"maps__map01": BEYOND},
        {"maps__map01": b"PWAD"},
        # The engine opens all of these.
        {"evil": BEYOND},
        {"EVIL": b"IWAD" + b"\xff\xff\xff\x7f" * 2},
        {"maps__other": EVIL},
        {"maps\\other": EVIL},
        {"filter__doom__evil": EVIL},
    ],
)
def test_a_map_in_an_archive_is_a_map_file(tmp_path, members):
    basic = (wad_files.wheel_scenarios() / "basic.wad").read_bytes()
    pk3 = archive(tmp_path / "m.pk3", **{"maps__map01": basic, **members})
    with pytest.raises(
        UserError, match=r"in it is not a map file \(WAD\), or"
    ) as error:
        found_in(pk3)
    assert len(str(error.value)) < 300


def test_an_archive_with_maps_must_have_the_scenarios(tmp_path):
    basic = (wad_files.wheel_scenarios() / "basic.wad").read_bytes()
    # The game's own map01 would be played.
    with pytest.raises(UserError, match=r"no map map01 in m\.pk3; it has e9m9"):
        found_in(archive(tmp_path / "m.pk3", maps__e9m9=basic))
    assert found_in(archive(tmp_path / "m.pk3", inner=basic))  # As map01 in it.
    with pytest.raises(UserError, match="no map map02 in"):
        found_in(archive(tmp_path / "m.pk3", inner=basic), "map02")
    # One of textures alone is for the game's maps.
    with zipfile.ZipFile(tmp_path / "m.pk3", "w") as file:
        file.writestr("textures/a.png", b"")
    assert found_in(tmp_path / "m.pk3", "map02")


@pytest.mark.parametrize("packing", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_an_archive_that_is_packed_in_another_way(tmp_path, packing):
    with zipfile.ZipFile(tmp_path / "m.pk3", "w", packing) as file:
        file.writestr("maps/map01.wad", os.urandom(500))
    data = bytearray((tmp_path / "m.pk3").read_bytes())
    data[60] ^= 0xFF
    (tmp_path / "m.pk3").write_bytes(data)
    with pytest.raises(UserError, match="not zip's usual one"):
        found_in(tmp_path / "m.pk3")


def test_an_archive_that_is_damaged_or_says_too_much(tmp_path):
    basic = (wad_files.wheel_scenarios() / "basic.wad").read_bytes()
    pk3 = archive(tmp_path / "m.pk3", maps__map01=basic)
    whole = pk3.read_bytes()
    for at in range(60, len(whole) - 200, max(1, len(whole) // 40)):
        data = bytearray(whole)
        data[at] ^= 0xFF
        pk3.write_bytes(data)
        with pytest.raises(UserError):
            found_in(pk3)
    start = whole.rindex(b"PK\1\2")
    for offset, value, words in [
        (8, b"\1", "encrypted"),
        (20, b"\xff\xff\xff\x7f", "overlap"),
        (24, b"\0\0\0\x11", "has more than 256 MiB"),
        (24, b"\x10\0\0\0", "cut short"),
        (42, b"\xff\xff", "cut short"),
    ]:
        data = bytearray(whole)
        data[start + offset : start + offset + len(value)] = value
        pk3.write_bytes(data)
        with pytest.raises(UserError, match=words):
            found_in(pk3)
    with zipfile.ZipFile(pk3, "w") as file:
        for index in range(40_000):
            file.writestr(zipfile.ZipInfo(f"maps/{index}.wad"), b"")
    with pytest.raises(UserError, match="too many members"):
        found_in(pk3)
    with zipfile.ZipFile(pk3, "w") as file:
        file.writestr("maps/map01.wad", basic)
        file.writestr("MAPS/MAP01.WAD", basic)
    with pytest.raises(UserError, match="appears twice"):
        found_in(pk3)


def test_a_pipe_in_the_place_of_a_map(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "m.pk3")
    # As if it had been put there after it was looked at.
    monkeypatch.setattr(wad_files, "find_wad", lambda config: tmp_path / "m.pk3")
    with pytest.raises(UserError, match="it is not a regular file"):
        found_in(tmp_path / "m.pk3")


def test_a_cfg_file_of_an_editor_with_a_byte_order_mark(tmp_path):
    path = tmp_path / "bom.cfg"
    path.write_bytes(b"\xef\xbb\xbf" + BASIC.encode())
    assert read_cfg(path).scenario_path == "basic.wad"
    path.write_bytes(b"\xff\xfe" + BASIC.encode("utf-16-le"))
    with pytest.raises(UserError, match="it is not UTF-8 text"):
        read_cfg(path)


@pytest.mark.vizdoom
def test_an_archives_map_is_the_one_that_runs(tmp_path):
    basic = (wad_files.wheel_scenarios() / "basic.wad").read_bytes()
    archive(tmp_path / "basic.pk3", maps__MAP07=basic)
    text = scenario_table.find("basic").cfg.read_text()
    text = text.replace("basic.wad", "basic.pk3") + "\ndoom_map = map07\n"
    (tmp_path / "mine.cfg").write_text(text)
    shown = []
    for scenario in ("basic", str(tmp_path / "mine.cfg")):
        with make_pool(scenario, num_envs=1, env_seeds=[5]) as pool:
            shown.append(pool.reset().obs.copy())
    np.testing.assert_array_equal(shown[0], shown[1])
