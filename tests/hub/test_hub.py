"""Push and pull, by the real client against a server on loopback."""

import dataclasses
import errno
import functools
import io
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import av
import huggingface_hub
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hub_server import HubServer
from huggingface_hub import ModelCard, constants
from safetensors.numpy import load

from jaxfactory._util.errors import UserError
from jaxfactory.checkpoints import checkpoint_files, export
from jaxfactory.checkpoints.manager import Checkpointer, load_for_evaluation
from jaxfactory.cli import commands, main
from jaxfactory.config import runs
from jaxfactory.config.train import (
    Config,
    EnvConfig,
    EvaluateOptions,
    NetworkConfig,
    PPOConfig,
    WatchConfig,
    to_dict,
)
from jaxfactory.evaluation.evaluate import run as run_evaluation
from jaxfactory.hub import model_card
from jaxfactory.hub import pull as hub_pull
from jaxfactory.hub import push as hub
from jaxfactory.hub.pull import PullOptions
from jaxfactory.hub.push import PushOptions
from jaxfactory.metrics.episodes import EpisodeStats
from jaxfactory.models.actor_critic import ActorCritic
from jaxfactory.ppo.learner import TrainState, init_train_state
from jaxfactory.ppo.optimizer import make_optimizer
from jaxfactory.rollout.sampler import Episode
from jaxfactory.sample_factory import convert
from jaxfactory.scenarios import scenario_table
from jaxfactory.scenarios.maps import map_record, wad_files
from jaxfactory.scenarios.maps.selection import MapFile
from jaxfactory.spec import ActionSpec, EnvSpec, ObservationSpec
from jaxfactory.training.loop import train


# The client's own; users do not see it.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

CONFIG = Config(
    network=NetworkConfig(conv_channels=(4, 4, 4), hidden_size=16, core_size=16)
)
SPEC = EnvSpec(ObservationSpec((72, 128, 3)), ActionSpec((5,)))
FRAMES = 2**31 + 512
REPO = "ada/doom"


@functools.cache
def make_state(seed: int) -> TrainState:
    network = ActorCritic(SPEC, CONFIG.network)
    state = init_train_state(network, CONFIG.ppo, jax.random.key(seed))
    rng = np.random.default_rng(seed)

    def shaken(leaf: Any) -> Any:
        noise = rng.normal(size=leaf.shape) * 9 + 1
        return jnp.asarray(noise, leaf.dtype)

    trees = (state.opt_state, state.normalizer, state.step)
    opt_state, normalizer, step = jax.tree.map(shaken, trees)
    return state._replace(
        opt_state=opt_state, normalizer=normalizer, step=step, frames=FRAMES
    )


def summary(mean: float, std: float) -> dict[str, float]:
    return {"mean": mean, "std": std, "mean_minus_std": mean - std, "min": 2.4,
            "max": 21.0}  # fmt: skip


EVALUATION = {
    "scenario": "health_gathering_supreme", "frames_trained": FRAMES,
    "checkpoint": "best", "deterministic": False, "seed": 1000, "episodes": 100,
    "num_envs": 20, "date": "2026-01-02T03:04:05+00:00",
    "raw_return": summary(13.104, 5.696), "shaped_return": summary(32.4, 17.5),
    "length": summary(1310.0, 570.0), "truncated": 17, "each": [],
}  # fmt: skip


@pytest.fixture(scope="module")
def state() -> TrainState:
    return make_state(1)


@pytest.fixture(scope="module")
def finished(state, tmp_path_factory) -> Path:
    """A trained and evaluated run, as files."""
    run = tmp_path_factory.mktemp("finished") / "run"
    stats = EpisodeStats()
    stats.extend([Episode(30.0 + i, 10.0, 1000, False) for i in range(100)])
    with Checkpointer(run, CONFIG) as checkpointer:
        checkpointer.save(state, stats, 12.5)
    (run / runs.METRICS).write_text('{"frames": 512}\n')
    events = run / runs.TENSORBOARD
    events.mkdir()
    (events / "events.out.tfevents.1234567890.my.secret-host.0").write_bytes(b"a")
    (events / "events.out.tfevents.1234567899.my.secret-host.512").write_bytes(b"b")
    (run / "evaluation.json").write_text(json.dumps(EVALUATION))
    (run / "evaluation.mp4").write_bytes(b"film" * 1000)
    return run


@pytest.fixture
def run(finished, tmp_path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "mine"))


@pytest.fixture
def server(monkeypatch, tmp_path):
    """The Hub, and a user who is logged in to it."""
    monkeypatch.chdir(tmp_path)
    home = tmp_path / "hf"
    with HubServer() as hub_server:
        template = hub_server.endpoint + "/{repo_id}/resolve/{revision}/{filename}"
        for name, value in {
            "ENDPOINT": hub_server.endpoint,
            "HUGGINGFACE_CO_URL_TEMPLATE": template,
            "HF_HOME": str(home),
            "HF_HUB_CACHE": str(home / "hub"),
            "HF_TOKEN_PATH": str(home / "token"),
            "HF_STORED_TOKENS_PATH": str(home / "stored_tokens"),
            "HF_HUB_DISABLE_XET": True,
            "HF_HUB_DISABLE_TELEMETRY": True,
            "HF_HUB_OFFLINE": False,
        }.items():
            monkeypatch.setattr(constants, name, value)
        monkeypatch.setenv("HF_TOKEN", "hf_write")
        # It sets flags for a JAX that has long been started here.
        monkeypatch.setattr(commands, "_prepare_jax", lambda: None)
        # The client waits up to 8 seconds between its attempts.
        monkeypatch.setattr(time, "sleep", lambda seconds: None)
        huggingface_hub.utils.disable_progress_bars()
        yield hub_server
        huggingface_hub.utils.enable_progress_bars()


def leaves(state: TrainState) -> list[np.ndarray]:
    state = state._replace(key=jax.random.key_data(state.key))
    return [np.asarray(leaf) for leaf in jax.tree.leaves(state)]


def assert_equal(one: TrainState, other: TrainState) -> None:
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for a, b in zip(leaves(one), leaves(other), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


def refused(capsys, *args) -> str:
    """Run the command line, which must refuse; return its one sentence."""
    assert main.main([str(arg) for arg in args]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("jaxfactory: ")
    assert captured.err.count("\n") == 1, captured.err
    return captured.err


def push(run: Path, repo: str = REPO, **options: Any) -> hub.Pushed:
    return hub.push(PushOptions(run=run, repo=repo, **options))


def pull(repo: str = REPO, **options: Any) -> Path:
    return hub_pull.pull(PullOptions(repo=repo, **options)).run


def files_under(folder: Path) -> set[str]:
    paths = folder.rglob("*")
    return {str(p.relative_to(folder)) for p in paths if p.is_file()}


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


def test_the_card_is_what_the_leaderboard_reads(server, run):
    push(run)
    text = server.files(REPO)["README.md"].decode()
    card = ModelCard(text)
    assert card.data.library_name == "jaxfactory"
    assert card.data.tags == [
        "jaxfactory", "deep-reinforcement-learning", "reinforcement-learning",
        "vizdoom", "doom", "doom_health_gathering_supreme",
    ]  # fmt: skip
    (entry,) = card.data.eval_results
    assert (entry.task_type, entry.metric_type) == (
        "reinforcement-learning",
        "mean_reward",
    )
    assert entry.dataset_name == entry.dataset_type == "doom_health_gathering_supreme"
    assert entry.verified is False
    head = card.data.to_dict()
    value = head["model-index"][0]["results"][0]["metrics"][0]["value"]
    assert [float(part) for part in value.split("+/-")] == [13.1, 5.7]
    for words in (
        "| raw return | 13.10 | 5.70 | 7.41 | 2.40 | 21.00 |",
        f"jaxfactory pull {REPO} --run runs/doom",
        "--episodes 100 --seed 1000 --num-envs 20 --checkpoint best",
        "jaxfactory train --run runs/doom --total-frames 4294968320",
        "100 whole episodes with sampled actions",
        "- `optimizer.safetensors`:",
    ):
        assert words in text


@pytest.mark.parametrize(
    ("scenario", "name"),
    [
        ("health_gathering_supreme", "doom_health_gathering_supreme"),
        ("maps/my_maze.cfg", "doom_my_maze"),
        ("maps/mine.py:MAZE", "doom_maze"),
        ("my.maps:MAZE", "doom_maze"),
        ("gymnasium:CartPole-v1", "CartPole-v1"),
    ],
)
def test_environments_are_named_as_others_name_them(scenario, name):
    assert model_card.environment_id(scenario) == name


def test_the_commands_make_an_equal_agent(server, run, state, capsys):
    assert main.main(["push", str(run), REPO, "--commit-message", "mine"]) == 0
    assert server.repos[REPO].commits[-1].message == "mine"
    out = capsys.readouterr().out
    assert f"as {server.endpoint}/{REPO}" in out
    assert f"jaxfactory pull {REPO}" in out
    assert main.main(["pull", REPO]) == 0
    pulled = Path("runs/health_gathering_supreme/doom")
    out = capsys.readouterr().out
    assert f"jaxfactory evaluate --run {pulled} --render-mp4" in out
    assert f"jaxfactory train --run {pulled} --total-frames 4294968320" in out

    assert runs.load_config(pulled) == CONFIG
    for kind in ("best", "latest"):
        saved = load_for_evaluation(pulled, kind)
        assert saved.path == pulled / "checkpoints" / kind / f"{FRAMES:012d}"
        assert_equal(saved.restore(make_state(2)), state)
    # Training goes on with the record, the window of episodes and the clock.
    stats = EpisodeStats()
    with Checkpointer(pulled, CONFIG) as checkpointer:
        assert_equal(checkpointer.restore_or(make_state(2), stats), state)
        assert checkpointer.seconds == 12.5
    assert stats.summary("shaped_return").mean == 79.5
    other = (pulled / "evaluation.mp4", pulled / "metrics.jsonl")
    assert [path.read_bytes() for path in other] == [
        b"film" * 1000,
        b'{"frames": 512}\n',
    ]
    assert runs.find_newest_run() == pulled
    # What was pulled can be pushed; a second pull takes another place.
    push(pulled, "ada/again")
    assert pull() == Path("runs/health_gathering_supreme/doom-2")


def test_without_the_optimizer_it_begins_anew(server, run, state):
    push(run, optimizer=False)
    assert "optimizer.safetensors" not in server.files(REPO)
    assert b"optimizer.safetensors" not in server.files(REPO)["README.md"]
    restored = load_for_evaluation(pull()).restore(make_state(2))
    fresh = make_optimizer(CONFIG.ppo).init(state.params)
    assert_equal(restored, state._replace(opt_state=fresh))


def test_the_latest_checkpoint_leaves_the_record_behind(server, run, state):
    latest = {**EVALUATION, "checkpoint": "latest"}
    (run / "evaluation.json").write_text(json.dumps(latest))
    assert not push(run).video  # the film is older than the score
    pulled = pull()
    assert runs.checkpoint_dirs(pulled, "best") == []
    host, _ = checkpoint_files.read_arrays(load_for_evaluation(pulled).path)
    assert host["best"] is None


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
    assert "ada/open exists and everybody can see it" in words
    assert set(server.files("ada/open")) == {"a"}


@pytest.mark.parametrize(
    ("method", "path", "what", "words"),
    [
        ("POST", "repos/create", 401, "does not accept your token"),
        ("POST", "repos/create", 403, "does not let your token write to ada/doom"),
        ("POST", "repos/create", 500, "has a server error (500); run the same command"),
        ("POST", "repos/create", 404, "check the name, and HF_ENDPOINT"),
        ("POST", "repos/create", 429, "wait some minutes"),
        ("POST", "repos/create", 418, "refused ada/doom"),
        ("POST", "repos/create", "drop", "the connection was lost"),
        ("GET", "api/models", 502, "has a server error (502)"),
        ("POST", "preupload", 403, "does not let your token write"),
        ("POST", "objects/batch", 500, "has a server error (500)"),
        ("PUT", "lfs", 500, "has a server error (500)"),
        ("PUT", "lfs", "drop", "the connection was lost"),
        ("POST", "lfs/verify", 404, "has no repository"),
        ("POST", "commit", 500, "has a server error (500)"),
        ("POST", "commit", "drop", "the connection was lost"),
    ],
)
def test_a_push_that_fails_says_why_and_can_be_retried(
    server, run, capsys, method, path, what, words
):
    server.fail(method, path, what)
    assert words in refused(capsys, "push", run, REPO)
    assert all(len(repo.commits) == 1 for repo in server.repos.values())
    there = set(server.large)
    server.faults.clear()
    before = len(server.requests)
    push(run)
    assert len(server.repos[REPO].commits) == 2
    # What had arrived is not sent again.
    sent = [r for r in server.requests[before:] if r.startswith("PUT")]
    assert len(sent) == 3 - len(there)


def test_a_connection_that_breaks_once_is_the_clients_own_affair(server, run):
    server.fail("PUT", "lfs", "drop", times=1)
    push(run)
    assert len(server.repos[REPO].commits) == 2


def test_who_may_not_push(server, run, monkeypatch, capsys):
    assert "write to bob/doom" in refused(capsys, "push", run, "bob/doom")
    monkeypatch.setenv("HF_TOKEN", "hf_read")
    assert "write to ada/doom" in refused(capsys, "push", run, REPO)
    evaluate = ("evaluate", "--run", run, "--push-to-hub", REPO)
    assert "the token of ada may only read" in refused(capsys, *evaluate)
    monkeypatch.delenv("HF_TOKEN")
    assert "run `hf auth login`" in refused(capsys, "push", run, REPO)
    assert "you are not logged in" in refused(capsys, *evaluate)
    # As `hf auth login` does it.
    Path(constants.HF_TOKEN_PATH).parent.mkdir()
    Path(constants.HF_TOKEN_PATH).write_text("hf_write")
    assert push(run).video


@pytest.mark.parametrize("repo", ["doom", "a/b/c", "/doom", "a//b", "ä/b", "a/b--c"])
def test_names_that_name_nothing(server, run, capsys, repo):
    for args in (("push", run, repo), ("pull", repo)):
        assert "is not a repository name; give user/repo" in refused(capsys, *args)
    assert server.requests == []


def test_a_run_that_is_not_ready(server, run, capsys):
    film = json.dumps({**EVALUATION, "frames_trained": 5})
    for text, words in (
        (film, "evaluated after 5 frames and its best checkpoint has 2,147,484,160"),
        ("{", "evaluation.json cannot be read"),
        ("{}", "evaluation.json cannot be read"),
    ):
        (run / "evaluation.json").write_text(text)
        sentence = refused(capsys, "push", run, REPO)
        assert words in sentence
        assert f"`jaxfactory evaluate --run {run} --render-mp4`" in sentence
    (run / "evaluation.json").unlink()
    assert "has no score yet; evaluate it first" in refused(capsys, "push", run, REPO)
    assert "nowhere is not a directory" in refused(capsys, "push", "nowhere", REPO)
    assert server.requests == []


@pytest.mark.parametrize(
    ("method", "path", "what", "words"),
    [
        ("GET", "api/models", 500, "has a server error (500)"),
        ("GET", "api/models", "drop", "the connection was lost"),
        ("GET", "tree", 503, "has a server error (503)"),
        ("HEAD", "resolve/.*/README", 0, ""),
        ("HEAD", "resolve/.*/model", 500, "has a server error (500)"),
        ("GET", "cdn", 500, "has a server error (500)"),
        ("GET", "cdn", "drop", "the connection was lost"),
    ],
)
def test_a_pull_that_fails_leaves_nothing_and_can_be_retried(
    server, run, state, capsys, method, path, what, words
):
    push(run)
    if words:
        server.fail(method, path, what)
        assert words in refused(capsys, "pull", REPO, "--run", "new/run")
        assert not Path("new").exists()
        server.faults.clear()
    pulled = pull(run=Path("new/run"))
    assert_equal(load_for_evaluation(pulled).restore(make_state(2)), state)


def test_a_pull_into_the_directory_that_one_is_in(server, run, tmp_path, monkeypatch):
    push(run)
    place = tmp_path / "empty"
    place.mkdir()
    before = Path.cwd()
    monkeypatch.chdir(place)
    monkeypatch.setenv("HF_HOME", str(before / "hf"))
    assert pull(run=Path()) == Path()
    assert load_for_evaluation(Path()).frames == FRAMES
    # Somebody who is there goes on being there.
    assert place.samefile(Path.cwd())
    assert not list(place.parent.glob(".empty*"))


def test_what_cannot_be_pulled(server, run, capsys):
    push(run)
    for args, words in (
        ((REPO, "--revision", "v9"), f"{REPO} has no such revision"),
        (("ada/nothing",), "there is no repository ada/nothing"),
        ((REPO, "--run", run), "exists already and is not overwritten"),
        ((REPO, "--run", run / "evaluation.json" / "x"), "cannot be written"),
    ):
        assert words in refused(capsys, "pull", *args)
    # A stranger's large model is refused before it is downloaded.
    strange = {"config.json": b"{}", "model.safetensors": b"x" * 100}
    server.make("ada/llm", strange)
    before = len(server.requests)
    assert "holds no agent" in refused(capsys, "pull", "ada/llm")
    assert not any("safetensors" in r for r in server.requests[before:])
    assert files_under(Path("hf/hub/models--ada--llm/snapshots")) != set()


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("model.safetensors", b"junk", "model.safetensors cannot be read"),
        ("optimizer.safetensors", b"junk", "optimizer.safetensors cannot be read"),
        ("model.safetensors", None, "model.safetensors cannot be read"),
        ("checkpoint.json", b"{}", "checkpoint.json cannot be read"),
        ("checkpoint.json", b'{"format": 1, "frames": 1}', "it lacks best, episodes"),
        ("config.json", b'{"warp": 3}', "config.json cannot be read"),
    ],
)
def test_a_damaged_repository(server, run, capsys, name, content, words):
    push(run)
    files = {**server.files(REPO), name: content}
    server.make(REPO, {k: v for k, v in files.items() if v is not None})
    assert words in refused(capsys, "pull", REPO, "--run", "new")
    assert not list(Path().glob("*new*"))
    assert not list(Path().glob(".*new*"))


def test_what_the_repository_describes_it_must_hold(server, run, capsys):
    push(run)
    files = server.files(REPO)
    host = json.loads(files["checkpoint.json"])
    for changes, words in (
        ({"format": 2}, "of format 2 and this version reads up to 1"),
        ({"leaves": {**host["leaves"], "params.x": "float32[3]"}}, "(params.x)"),
        ({"leaves": {**host["leaves"], "frames": "int64[3]"}}, "(frames)"),
    ):
        text = json.dumps({**host, **changes}).encode()
        server.make(REPO, {**files, "checkpoint.json": text})
        assert words in refused(capsys, "pull", REPO)
    assert not Path("runs/health_gathering_supreme/doom").exists()


def test_a_full_disk(server, run, monkeypatch, capsys):
    push(run)

    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device", "/somewhere")

    with monkeypatch.context() as patch:
        patch.setattr(hub_pull.shutil, "copyfile", full)
        words = refused(capsys, "pull", REPO, "--run", "new")
    assert "new cannot be written (No space left on device); make room" in words
    assert not list(Path().glob("*new*")) + list(Path().glob(".*new*"))
    shutil.rmtree(constants.HF_HUB_CACHE)
    with monkeypatch.context() as patch:
        patch.setattr(huggingface_hub.file_download, "http_get", full)
        words = refused(capsys, "pull", REPO, "--run", "new")
    assert "the disk is full (/somewhere); free some space, or set HF_HOME" in words
    assert pull(run=Path("new")) == Path("new")


@pytest.mark.parametrize("name", ["gru", "measurements"])
def test_an_agent_of_sample_factory(server, tmp_path, capsys, name):
    theirs = Path(__file__).parents[1] / "data" / "sample_factory" / name
    files = {path: (theirs / path).read_bytes() for path in files_under(theirs)}
    server.make("ada/theirs", {**files, "README.md": b"theirs", "sf_log.txt": b"log"})
    assert main.main(["pull", "ada/theirs"]) == 0
    imported = convert.convert(theirs, None, tmp_path / "straight")
    pulled = runs.ROOT / imported.scenario / "theirs"
    out = capsys.readouterr().out
    assert f"trained for {imported.frames:,} frames, into {pulled}" in out
    assert all(f"note: {note}" in out for note in imported.notes)
    assert runs.load_config(pulled) == runs.load_config(imported.run)
    (one, ours), (other, straight) = (
        checkpoint_files.read_arrays(load_for_evaluation(path).path)
        for path in (pulled, imported.run)
    )
    assert one == other
    for leaf, array in straight.items():
        np.testing.assert_array_equal(ours[leaf], array)
    # The scenario can be named, and a wrong one leaves nothing behind.
    words = refused(capsys, "pull", "ada/theirs", "--scenario", "basic", "--run", "new")
    assert "--scenario" in words
    assert not list(Path().glob("*new*")) + list(Path().glob(".*new*"))
    assert not list(runs.ROOT.glob(".*"))


def test_offline(server, run, monkeypatch, capsys):
    push(run)
    pull()
    sha = server.repos[REPO].commits[-1].sha
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    before = list(server.requests)
    assert pull(run=Path("main")) == Path("main")
    assert pull(revision=sha, run=Path("sha")) == Path("sha")
    assert "HF_HUB_OFFLINE is set" in refused(capsys, "pull", "ada/other")
    assert "HF_HUB_OFFLINE is set" in refused(capsys, "push", run, REPO)
    assert server.requests == before


def test_a_revision(server, run, state):
    push(run)
    first = server.repos[REPO].commits[-1].sha
    changed = {**EVALUATION, "seed": 7}
    (run / "evaluation.json").write_text(json.dumps(changed))
    push(run)
    seeds = [
        json.loads((pull(revision=sha) / "evaluation.json").read_text())["seed"]
        for sha in (first, None)
    ]
    assert seeds == [1000, 7]


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


def test_no_code_comes_along(server, run):
    push(run)
    code = {"tensorboard/evil.py": b"raise SystemExit", "scenario/evil.so": b"\x7fELF"}
    server.repos[REPO].add("by hand", {**server.files(REPO), **code})
    pulled = pull(run=Path("new"))
    assert "scenario/evil.so" in server.files(REPO)
    for folder in (pulled, Path("hf")):  # the run and the client's cache
        assert not [name for name in files_under(folder) if "evil" in name]


@pytest.mark.vizdoom
def test_a_played_agent_goes_round(server, tmp_path):
    config = Config(
        env=EnvConfig(scenario="basic", num_envs=4, width=32, height=24),
        # Small and quick to compile.
        network=NetworkConfig(
            conv_channels=(4,),
            conv_kernels=(8,),
            conv_strides=(4,),
            hidden_size=16,
            core="none",
        ),
        ppo=PPOConfig(num_steps=8, num_minibatches=2, num_epochs=1),
        total_frames=2 * 4 * 8 * 4,
    )
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


def test_a_hub_without_the_storage_that_the_client_wants(
    server, run, monkeypatch, capsys
):
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", False)
    assert "set HF_HUB_DISABLE_XET=1 to bypass it" in refused(capsys, "push", run, REPO)


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


def test_a_match_has_frags_in_its_card(server, run):
    match = {"frags": summary(7.5, 1.25), "place": summary(1.5, 0.5), "first_places": 9}
    (run / "evaluation.json").write_text(json.dumps({**EVALUATION, **match}))
    push(run)
    card = server.files(REPO)["README.md"].decode()
    assert "| frags | 7.50 | 1.25 | 6.25 | 2.40 | 21.00 |" in card


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


def test_the_environment_that_users_know(server, run, tmp_path):
    """HF_ENDPOINT, HF_TOKEN and HF_HOME, in a process of its own."""
    push(run, private=True)
    environment = {
        **os.environ, "HF_ENDPOINT": server.endpoint, "HF_TOKEN": "hf_write",
        "HF_HOME": str(tmp_path / "other"), "HF_HUB_DISABLE_XET": "1",
        "PYTHONPATH": str(Path(main.__file__).parents[2]), "JAX_PLATFORMS": "cpu",
    }  # fmt: skip
    command = [sys.executable, "-m", "jaxfactory", "pull", REPO, "--run", "new"]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "pulled ada/doom, trained for 2,147,484,160 frames, into new" in done.stdout
    assert (tmp_path / "other" / "hub" / "models--ada--doom").is_dir()
    assert "Traceback" not in done.stderr


def test_looking_at_the_module_starts_neither_jax_nor_the_client():
    program = (
        "import sys, jaxfactory.hub.pull, jaxfactory.cli.main\n"
        "heavy = {'jax', 'huggingface_hub', 'safetensors'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    path = str(Path(main.__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": path}
    subprocess.run([sys.executable, "-c", program], env=environment, check=True)


def test_an_agent_of_sample_factory_is_pulled(server, capsys):
    data = Path(__file__).parents[1] / "data" / "sample_factory" / "gru"
    files = [path for path in data.rglob("*") if path.is_file()]
    contents = {str(file.relative_to(data)): file.read_bytes() for file in files}
    server.make("ada/theirs", contents)
    assert main.main(["pull", "ada/theirs"]) == 0
    assert "trained for 123,456 frames" in capsys.readouterr().out
    run = Path("runs/health_gathering_supreme/theirs")
    assert [path.name for path in runs.checkpoint_dirs(run, "latest")] == [
        "000000123456"
    ]
    assert runs.load_config(run).env.scenario == "health_gathering_supreme"
