"""What `push` publishes, by the real client against a local server."""

import dataclasses
import io
import json
import shutil
from pathlib import Path

import av
import numpy as np
import pytest
from hub_runs import CONFIG, EVALUATION, FRAMES, REPO, make_state, pull, push, refused
from huggingface_hub import constants
from safetensors.numpy import load
from saved_states import assert_equal, leaves
from tiny import tiny_config

from jaxfactory._util.errors import UserError
from jaxfactory.checkpoints import checkpoint_files, export
from jaxfactory.checkpoints.saved_run import load_for_evaluation
from jaxfactory.cli import main
from jaxfactory.config import runs
from jaxfactory.config.train import EnvConfig, EvaluateOptions, WatchConfig, to_dict
from jaxfactory.evaluation.evaluate import run as run_evaluation
from jaxfactory.ppo.optimizer import make_optimizer
from jaxfactory.scenarios import scenario_table
from jaxfactory.scenarios.maps import map_record, wad_files
from jaxfactory.scenarios.maps.selection import MapFile
from jaxfactory.training.loop import train


# The client's own; users do not see it.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


def test_push_makes_one_commit_with_everything(server, run, state):
    pushed = push(run)
    assert pushed == (f"{server.endpoint}/{REPO}", "13.10 +/- 5.70", True)
    commits = server.repos[REPO].commits
    assert [c.message for c in commits] == [
        "initial commit",
        "doom_health_gathering_supreme: 13.10 +/- 5.70 after 2,147,484,160 frames",
    ]
    files = server.files(REPO)
    assert set(files) == {
        ".gitattributes", "README.md", "replay.mp4", "config.json", "evaluation.json",
        "metrics.jsonl", "model.safetensors", "optimizer.safetensors",
        "checkpoint.json", "tensorboard/events.out.tfevents.1234567890.0",
        "tensorboard/events.out.tfevents.1234567899.512",
    }  # fmt: skip
    assert not any(b"secret-host" in content for content in files.values())
    assert files["replay.mp4"] == b"film" * 1000
    assert json.loads(files["evaluation.json"]) == EVALUATION
    model, optimizer = load(files["model.safetensors"]), load(
        files["optimizer.safetensors"]
    )  # fmt: skip
    np.testing.assert_array_equal(
        model["normalizer.obs.image.mean"], state.normalizer.obs["image"].mean
    )
    assert model["frames"] == FRAMES
    assert all(name.startswith("opt_state.") for name in optimizer)
    count = len(model) + len(optimizer)
    assert count == len(leaves(state))
    assert not any("/tmp" in text.decode() for name, text in files.items()
                   if name.endswith((".json", ".md")))  # fmt: skip


def test_without_the_optimizer_it_begins_anew(server, run, state):
    push(run, optimizer=False)
    assert "optimizer.safetensors" not in server.files(REPO)
    assert b"optimizer.safetensors" not in server.files(REPO)["README.md"]
    restored = load_for_evaluation(pull()).restore(make_state(2))
    fresh = make_optimizer(CONFIG.ppo).init(state.params)
    assert_equal(restored, state._replace(opt_state=fresh))


def test_pushing_again(server, run):
    push(run)
    sent = len(server.requests)
    push(run)  # nothing has changed
    assert len(server.repos[REPO].commits) == 2
    assert not any(r.startswith("PUT") for r in server.requests[sent:])
    # Another run takes its place: what belongs to the first one goes.
    shutil.rmtree(run / runs.TENSORBOARD)
    (run / "evaluation.mp4").unlink()
    server.repos[REPO].add("by hand", {**server.files(REPO), "notes.md": b"mine"})
    push(run, optimizer=False)
    assert set(server.files(REPO)) == {
        ".gitattributes", "README.md", "config.json", "evaluation.json", "notes.md",
        "metrics.jsonl", "model.safetensors", "checkpoint.json",
    }  # fmt: skip
    assert len(server.repos[REPO].commits) == 4


def test_large_files_go_in_parts(server, run, state):
    server.chunk_size = 5000
    push(run)
    assert any("/complete" in request for request in server.requests)
    assert_equal(load_for_evaluation(pull()).restore(make_state(2)), state)


def test_private(server, run, monkeypatch, capsys):
    push(run, private=True)
    assert server.repos[REPO].private
    assert pull().is_dir()
    monkeypatch.setenv("HF_TOKEN", "hf_foreign")
    shutil.rmtree(constants.HF_HUB_CACHE)
    words = refused(capsys, "pull", REPO)
    assert "does not accept your token; run `hf auth login`" in words
    monkeypatch.setenv("HF_TOKEN", "")
    assert "or it is private and not yours" in refused(capsys, "pull", REPO)
    # A repository that everybody sees is not taken for a private one.
    monkeypatch.setenv("HF_TOKEN", "hf_write")
    server.make("ada/open", {"a": b""})
    words = refused(capsys, "push", run, "ada/open", "--private")
    assert "ada/open exists and is public" in words
    assert set(server.files("ada/open")) == {"a"}


def test_a_scenario_of_ones_own_goes_with_the_agent(server, run, tmp_path):
    maps = tmp_path / "maps"
    maps.mkdir()
    wheel = wad_files.wheel_scenarios()
    shutil.copy(wheel / "basic.wad", maps / "mine.wad")
    text = (wheel / "basic.cfg").read_text().replace("basic.wad", "mine.wad")
    (maps / "mine.cfg").write_text(text)
    env = EnvConfig(scenario=str(maps / "mine.cfg"))
    config = dataclasses.replace(CONFIG, env=env)
    runs.write_atomically(run / "config.json", json.dumps(to_dict(config)))
    push(run)
    files = server.files(REPO)
    assert json.loads(files["config.json"])["env"]["scenario"] == "scenario/mine.cfg"
    assert files["scenario/mine.wad"] == (maps / "mine.wad").read_bytes()
    assert str(tmp_path) not in files["README.md"].decode()
    assert "doom_mine" in files["README.md"].decode()
    assert "--run runs/doom --trust-scenario\n" in files["README.md"].decode()
    shutil.rmtree(maps)
    pulled = pull(run=Path("new"), trust_scenario=True)
    scenario = scenario_table.find(runs.load_config(pulled).env.scenario)
    assert scenario.cfg == pulled.absolute() / "scenario" / "mine.cfg"
    assert wad_files.find_wad(scenario.load()) == scenario.cfg.with_suffix(".wad")


@pytest.mark.vizdoom
def test_a_played_agent_goes_round(server, tmp_path):
    config = tiny_config(updates=2)
    train(config, Path("mine"))
    play = ["--episodes", "4", "--num-envs", "2"]
    command = ["evaluate", "--run", "mine", *play, "--push-to-hub", REPO, "--private"]
    assert main.main(command) == 0
    assert server.repos[REPO].private
    with av.open(io.BytesIO(server.files(REPO)["replay.mp4"])) as video:
        assert video.streams.video[0].width == 640
    pulled = pull()
    first = json.loads(Path("mine/evaluation.json").read_text())
    again = run_evaluation(EvaluateOptions(run=pulled, episodes=4, num_envs=2))
    assert again["each"] == first["each"]
    assert again["raw_return"] == first["raw_return"]
    longer = dataclasses.replace(config, total_frames=3 * 4 * 8 * 4)
    went_on = train(longer, pulled)
    assert (went_on.frames, int(went_on.step)) == (384, 3)


def test_neither_paths_nor_accounts_are_published(server, run):
    config = dataclasses.replace(
        CONFIG,
        env=EnvConfig(scenario="/home/ada/maps.py:MAZE"),
        network=dataclasses.replace(
            CONFIG.network, encoder="/home/ada/nets.py:Encoder"
        ),
        watch=WatchConfig(wandb=True, wandb_entity="ada-at-work", video_every=7),
    )
    runs.write_atomically(run / "config.json", json.dumps(to_dict(config)))
    push(run)
    files = server.files(REPO)
    text = b"".join(v for k, v in files.items() if not k.endswith(".mp4"))
    assert b"/home" not in text
    assert b"ada-at-work" not in text
    published = json.loads(files["config.json"])
    assert published["watch"]["video_every"] == 7
    assert published["watch"]["wandb"] is False
    card = files["README.md"].decode()
    assert "- doom_maze\n" in card
    flags = "--network FILE.py:NAME --scenario FILE.py:NAME\n"
    for words in ("`nets.py:Encoder`", "`maps.py:MAZE`", f"--run runs/doom {flags}"):
        assert words in card


def test_the_maps_of_an_agent_go_with_it_by_name(server, run):
    """The name and the hash of a map that was chosen, neither its place nor itself."""
    chosen = MapFile("mine.wad", "--map", "ab" * 32)
    env = EnvConfig(map="/home/ada/maps/mine.wad")
    config = dataclasses.replace(CONFIG, env=env)
    runs.write_atomically(run / "config.json", json.dumps(to_dict(config)))
    map_record.record(run, chosen)
    played = {"map": chosen.as_dict(), "trained_on": [chosen.as_dict()]}
    (run / "evaluation.json").write_text(json.dumps({**EVALUATION, **played}))
    push(run)
    files = server.files(REPO)
    assert not any(name.endswith(".wad") for name in files)
    assert b"/home" not in b"".join(files.values())
    assert json.loads(files["config.json"])["env"]["map"] == "mine.wad"
    assert json.loads(files["evaluation.json"])["map"] == chosen.as_dict()
    card = files["README.md"].decode()
    assert f"`mine.wad`, a file of the author's, SHA-256\n  `{'ab' * 32}`" in card
    assert "- `trained_on.json`" in card
    pulled = pull(run=Path("new"))
    assert map_record.trained_on(pulled) == (chosen,)
    # Another agent in the same repository, of which nothing is known.
    (run / runs.TRAINED_ON).unlink()
    (run / "evaluation.json").write_text(json.dumps(EVALUATION))
    push(run)
    assert runs.TRAINED_ON not in server.files(REPO)
    assert map_record.trained_on(pull(run=Path("newer"))) == ()
    assert "trained_on.json" not in server.files(REPO)["README.md"].decode()


def test_bundles_without_a_hub(finished, tmp_path, state):
    path = runs.checkpoint_dirs(finished, "best")[-1]
    files = export.pack(path, best=True, optimizer=True, settings={"a": 1})
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    assert export.unpack(tmp_path, tmp_path / "run") == FRAMES
    for kind in ("best", "latest"):
        made = runs.checkpoint_dirs(tmp_path / "run", kind)[-1]
        assert_equal(checkpoint_files.read_state(made, make_state(2)), state)
    with pytest.raises(UserError, match="cannot be read"):
        export.pack(tmp_path / "gone", best=True, optimizer=True, settings={})
