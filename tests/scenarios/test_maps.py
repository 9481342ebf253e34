"""The map of a run: chosen, named, recorded, and said where scores do not compare."""

import dataclasses
import hashlib
import json
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
from places import EXPERIMENTS
from tiny import tiny_config

from jaxfactory._util.errors import UserError
from jaxfactory.cli import main
from jaxfactory.config import runs
from jaxfactory.config.train import Config, EnvConfig
from jaxfactory.envs.family import resolve
from jaxfactory.envs.pool import make_pool
from jaxfactory.hub import model_card
from jaxfactory.report import report, run_data
from jaxfactory.sample_factory import convert
from jaxfactory.scenarios.maps import map_record, wad_files
from jaxfactory.scenarios.maps.map_file import MapFile
from jaxfactory.training.loop import train


FIELD = "`pip install --no-deps sample-factory`"


@pytest.fixture
def only_vizdoom(monkeypatch):
    """A machine on which no other package brings maps."""
    found = wad_files._package_folder

    def look(name):
        return found(name) if name == "vizdoom" else None

    monkeypatch.setattr(wad_files, "_package_folder", look)
    monkeypatch.delenv(wad_files.WAD_PATH_VARIABLE, raising=False)


def copied(folder: Path, name: str = "mine.wad", of: str = "basic.wad") -> Path:
    """A map of the wheel under another name, and another file by its last byte."""
    wad = folder / name
    wad.write_bytes((wad_files.wheel_scenarios() / of).read_bytes() + b"\0")
    return wad


def written(folder: Path, *lumps: str) -> Path:
    """A WAD of empty lumps."""
    wad = folder / "written.wad"
    rows = b"".join(struct.pack("<ii8s", 12, 0, lump.encode()) for lump in lumps)
    wad.write_bytes(struct.pack("<4sii", b"PWAD", len(lumps), 12) + rows)
    return wad


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def small(**env) -> Config:
    return tiny_config(env={"timeout": 40, **env}, total_frames=512)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    run = tmp_path_factory.mktemp("maps") / "run"
    train(small(), run)
    return run


@pytest.fixture
def run(trained, tmp_path):
    return Path(shutil.copytree(trained, tmp_path / "run"))


def evaluate(capsys, run: Path, *options: str) -> tuple[dict, str]:
    argv = ["evaluate", "--run", str(run), "--episodes=2", "--num-envs=2", *options]
    capsys.readouterr()
    assert main.main(argv) == 0, capsys.readouterr().err
    result = json.loads((run / "evaluation.json").read_text())
    return result, capsys.readouterr().out


@pytest.mark.vizdoom
def test_an_evaluation_names_its_map(run, capsys):
    result, said = evaluate(capsys, run)
    wad = wad_files.wheel_scenarios() / "basic.wad"
    expected = {"file": "basic.wad", "from": "vizdoom", "sha256": sha256(wad)}
    assert result["map"] == expected
    assert result["trained_on"] == [expected]
    assert f"map: basic.wad (vizdoom, SHA-256 {sha256(wad)[:12]})\n" in said
    assert "trained on" not in said
    # Of a run of an older version nothing is known.
    (run / runs.TRAINED_ON).unlink()
    assert map_record.trained_on(run) == ()


@pytest.mark.vizdoom
def test_another_map_is_chosen_and_named_without_its_folder(
    run, tmp_path, monkeypatch, capsys
):
    mine = copied(tmp_path)
    monkeypatch.chdir(tmp_path)
    result, said = evaluate(capsys, run, "--map", "mine.wad", "--render-mp4")
    assert result["map"] == {
        "file": "mine.wad", "from": "--map", "sha256": sha256(mine),
    }  # fmt: skip
    assert f"map: mine.wad ({tmp_path}, SHA-256 {sha256(mine)[:12]})\n" in said
    [line] = [line for line in said.splitlines() if line.startswith("trained on")]
    basic = wad_files.wheel_scenarios() / "basic.wad"
    assert line == (
        "trained on basic.wad, evaluated on mine.wad (--map): scores on another map "
        f"differ; --map {basic} selects basic.wad"
    )
    assert str(tmp_path) not in (run / "evaluation.json").read_text()
    # The video is a replay of the same episode, and says so otherwise.
    assert (run / "evaluation.mp4").is_file()
    check_page_and_card(run, mine)


def check_page_and_card(run: Path, wad: Path) -> None:
    """The report and the card of an evaluation on a map that was chosen."""
    digest, file = sha256(wad), run / "evaluation.json"
    page = report.render([run_data.read(run)])
    words = f"map mine.wad (--map, SHA-256 {digest[:12]}), trained on basic.wad"
    assert f"{words}</small>" in page
    result = json.loads(file.read_text())
    card = model_card.make_card(
        "ada/doom", runs.load_config(run), result, optimizer=True, video=True
    )
    assert (
        f"- Map file: `mine.wad`, a file of the author's, SHA-256\n  `{digest}`; "
        "trained on `basic.wad`."
    ) in card
    assert " --map mine.wad\n" in card
    assert str(wad.parent) not in card
    # What cannot be shown, and evaluations of older versions.
    for name in ("map", "trained_on"):
        file.write_text(json.dumps({**result, name: [3]}))
        with pytest.warns(UserWarning, match=f"its {name} is \\[3\\]"):
            assert run_data.read(run).evaluation is None
    del result["trained_on"], result["map"]
    file.write_text(json.dumps(result))
    assert "SHA-256" not in report.render([run_data.read(run)])


@pytest.mark.vizdoom
def test_the_engine_loads_the_chosen_map():
    """The two scenarios differ in nothing but their maps."""
    wad = wad_files.wheel_scenarios() / "health_gathering.wad"

    def first(scenario, **options):
        with make_pool(scenario, num_envs=1, seed=4, **options) as pool:
            return pool.reset().obs.copy()

    supreme = "health_gathering_supreme"
    expected = first("health_gathering")
    np.testing.assert_array_equal(first(supreme, map=str(wad)), expected)
    assert not np.array_equal(first(supreme), expected)


@pytest.mark.slow
@pytest.mark.vizdoom
def test_a_run_goes_on_on_another_map(run, tmp_path, monkeypatch, capsys):
    """Whose place does not depend on the folder that it was named in."""
    mine = copied(tmp_path)
    monkeypatch.chdir(tmp_path)
    argv = ["train", "--run", str(run), "--total-frames=1024", "--map=mine.wad"]
    assert main.main(argv) == 0, capsys.readouterr().err
    assert runs.load_config(run).env.map == str(mine)
    assert [one.file for one in map_record.trained_on(run)] == ["basic.wad", "mine.wad"]
    monkeypatch.chdir("/")
    # It has seen both maps, and is evaluated on the one that it has now.
    used = resolve(runs.load_config(run).env).map_file()
    assert used == MapFile("mine.wad", "--map", sha256(mine))
    assert not map_record.differs(used, map_record.trained_on(run))
    mine.unlink()
    capsys.readouterr()
    assert main.main(["evaluate", "--run", str(run)]) == 2
    said = capsys.readouterr().err
    assert said == (
        f"jaxfactory: the map file {mine} does not exist; give its path, or another "
        "map, with --map FILE\n"
    )


@pytest.mark.parametrize("command", ["train", "evaluate", "pool"])
def test_maps_that_do_not_fit_are_sentences(command, trained, tmp_path, capsys):
    (tmp_path / "text.wad").write_text("no map, but words enough for a header")
    # The game's own data have a MAP01, which the engine would play instead.
    other = written(tmp_path, "MAP07", "THINGS", "MAP31", "TEXTMAP")
    for name, words in (
        ("gone.wad", f"the map file {tmp_path}/gone.wad does not exist"),
        ("map.txt", "must be a map file, whose name ends with .wad"),
        (".", "must be a map file, whose name ends with .wad"),
        ("text.wad", "is not a map file (WAD), or it is cut short"),
        (other.name, "there is no map map01 in written.wad; it has map07, map31"),
    ):
        place = str(tmp_path / name)
        if command == "pool":
            with pytest.raises(UserError) as caught:
                make_pool("basic", num_envs=1, map=place)
            said = str(caught.value)
        else:
            flags = {
                "train": ["--scenario=basic", "--total-frames=1", "--num-envs=4"],
                "evaluate": ["--run", str(trained), "--episodes=1"],
            }
            assert main.main([command, *flags[command], "--map", place]) == 2
            said = capsys.readouterr().err
            assert said.count("\n") == 1
        assert words in said


def test_gymnasium_has_no_maps(trained, tmp_path, capsys):
    words = "--map is for Doom and does nothing for gymnasium:CartPole-v1"
    argv = ["train", "--scenario=gymnasium:CartPole-v1", "--map=a.wad"]
    assert main.main(argv) == 2
    assert words in capsys.readouterr().err
    assert resolve(EnvConfig(scenario="gymnasium:CartPole-v1")).map_file() is None


GOOD = {"file": "a.wad", "from": "vizdoom", "sha256": ""}


@pytest.mark.parametrize(
    "text",
    [
        "", "{}", "[1]", "null", "[" * 100_000, "\xff", '{"file": 1}',
        json.dumps([{**GOOD, "file": "\x1b[2Ja.wad"}]),
        json.dumps([{**GOOD, "file": "../../a.wad"}]),
        json.dumps([{**GOOD, "file": "a" * 1000}]),
        json.dumps([{**GOOD, "from": ["vizdoom"]}]),
        json.dumps([{**GOOD, "sha256": "abc"}]),
        json.dumps([GOOD] * 10_000),
    ],
    ids=range(13),
)  # fmt: skip
def test_a_record_that_makes_no_sense_is_none(tmp_path, text):
    (tmp_path / runs.TRAINED_ON).write_bytes(text.encode("latin-1"))
    assert map_record.trained_on(tmp_path) == ()
    map_record.record(tmp_path, MapFile("b.wad", "vizdoom", "0" * 64))
    assert [one.file for one in map_record.trained_on(tmp_path)] == ["b.wad"]


@pytest.mark.parametrize(
    ("scenario", "file"),
    [
        ("basic", "basic.wad"), ("deathmatch_bots", "dwango5.wad"),
        ("duel", "ssl2.wad"), ("duel_bots", "ssl2.wad"),
        ("deathmatch_full", "freedm.wad"), ("battle", "D3_battle.wad"),
        ("battle2", "D4_battle2.wad"), ("dm", "cig.wad"), ("dwango5", "dwango5.wad"),
        ("my_way_home_flat", "my_way_home.wad"), ("unheard_of", None), (None, None),
    ],
)  # fmt: skip
def test_the_maps_of_imported_agents(tmp_path, scenario, file):
    """Those that Sample Factory's own environments load, by D/doom_utils.py."""
    map_record.record_imported(tmp_path, scenario)
    found = map_record.trained_on(tmp_path)
    assert [one.file for one in found] == ([file] if file else [])


def test_an_imported_agent_records_its_map(tmp_path):
    run = tmp_path / "run"
    convert.convert(EXPERIMENTS / "measurements", None, run)
    # There it is called battle.wad, and is the same file.
    expected = MapFile("D3_battle.wad", "sample-factory", "")
    assert map_record.trained_on(run) == (expected,)
    assert expected.is_same(MapFile("battle.wad", "sample-factory", "0" * 64))


@pytest.mark.usefixtures("only_vizdoom")
def test_where_scores_do_not_compare_it_is_one_line():
    env = EnvConfig(scenario="deathmatch_bots", num_envs=1, num_groups=1)
    found = resolve(env)
    used = found.map_file()
    assert used is not None
    line = f"map: cig.wad (vizdoom, SHA-256 {used.short_hash})"

    def said(*trained: MapFile) -> list[str]:
        return found.map_notes(used, trained)

    # Our own run of it, and one of which nothing is known.
    second = f"{line}, in place of dwango5.wad, which {FIELD} installs: scores on "
    assert said() == said(used) == [f"{second}the two do not compare"]
    assert said(MapFile("dwango5.wad", "sample-factory", "")) == [
        line,
        "trained on dwango5.wad, evaluated on cig.wad (vizdoom): scores on another map "
        f"differ; {FIELD} installs dwango5.wad, --map FILE selects a map",
    ]
    assert said(MapFile("mine.wad", "--map", "1" * 64))[1].endswith(
        "scores on another map differ; --map FILE selects a map"
    )
    assert said(MapFile("cig.wad", "local folder", "ab" * 32))[1] == (
        "trained on another cig.wad (SHA-256 abababababab): scores on another map "
        "differ; --map FILE selects a map"
    )
    # A map that it saw among others, or known by its name alone.
    assert len(said(MapFile("mine.wad", "--map", "1" * 64), used)) == 1
    assert len(said(MapFile("cig.wad", "sample-factory", ""))) == 1


@pytest.mark.usefixtures("only_vizdoom")
def test_training_says_which_map_takes_the_place_of_another():
    note = resolve(EnvConfig(scenario="dwango5")).map_warning()
    assert note.startswith("map: cig.wad (vizdoom, SHA-256 ")
    assert f"in place of dwango5.wad, which {FIELD} installs" in note
    for scenario in ("dm", "basic", "gymnasium:CartPole-v1"):
        assert resolve(EnvConfig(scenario=scenario)).map_warning() == ""


@pytest.mark.usefixtures("only_vizdoom")
def test_a_map_that_was_chosen_is_no_second_choice(tmp_path):
    wad = str(wad_files.wheel_scenarios() / "cig.wad")
    env = EnvConfig(scenario="dwango5", num_envs=8, num_groups=1, map=wad)
    found = resolve(env)
    used = found.map_file()
    assert used is not None
    # It is the package's, however it was named.
    assert used.origin == "vizdoom"
    [line] = found.map_notes(used, ())
    assert line == f"map: cig.wad (vizdoom, SHA-256 {used.short_hash})"
    own = copied(tmp_path, of="cig.wad")
    chosen = resolve(dataclasses.replace(env, map=str(own)))
    assert chosen.map_file().origin == "--map"
