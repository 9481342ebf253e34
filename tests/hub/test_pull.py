"""What `pull` makes of a repository, by the real client against a local server."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hub_runs import (
    CONFIG,
    EVALUATION,
    FRAMES,
    REPO,
    files_under,
    make_state,
    pull,
    push,
    refused,
)
from huggingface_hub import constants
from places import EXPERIMENTS, ROOT
from saved_states import assert_equal, make_progress

from jaxfactory.checkpoints import checkpoint_files
from jaxfactory.checkpoints.manager import Checkpointer
from jaxfactory.checkpoints.saved_run import load_for_evaluation
from jaxfactory.cli import main
from jaxfactory.config import runs
from jaxfactory.sample_factory import convert


# The client's own; users do not see it.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


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
    progress = make_progress()
    with Checkpointer(pulled, CONFIG) as checkpointer:
        assert_equal(checkpointer.restore_or(make_state(2), progress), state)
    assert progress.seconds == 12.5
    assert progress.episodes.summary("shaped_return").mean == 79.5
    other = (pulled / "evaluation.mp4", pulled / "metrics.jsonl")
    assert [path.read_bytes() for path in other] == [
        b"film" * 1000,
        b'{"frames": 512}\n',
    ]
    assert runs.find_newest_run() == pulled
    # What was pulled can be pushed; a second pull takes another place.
    push(pulled, "ada/again")
    assert pull() == Path("runs/health_gathering_supreme/doom-2")


def test_the_latest_checkpoint_leaves_the_record_behind(server, run, state):
    latest = {**EVALUATION, "checkpoint": "latest"}
    (run / "evaluation.json").write_text(json.dumps(latest))
    assert not push(run).video  # the film is older than the score
    pulled = pull()
    assert runs.checkpoint_dirs(pulled, "best") == []
    host, _ = checkpoint_files.read_arrays(load_for_evaluation(pulled).path)
    assert host["best"] is None


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


@pytest.mark.parametrize("name", ["gru", "measurements"])
def test_an_agent_of_sample_factory(server, tmp_path, capsys, name):
    theirs = EXPERIMENTS / name
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


def test_no_code_comes_along(server, run):
    push(run)
    code = {"tensorboard/evil.py": b"raise SystemExit", "scenario/evil.so": b"\x7fELF"}
    server.repos[REPO].add("by hand", {**server.files(REPO), **code})
    pulled = pull(run=Path("new"))
    assert "scenario/evil.so" in server.files(REPO)
    for folder in (pulled, Path("hf")):  # the run and the client's cache
        assert not [name for name in files_under(folder) if "evil" in name]


def test_the_environment_that_users_know(server, run, tmp_path):
    """HF_ENDPOINT, HF_TOKEN and HF_HOME, in a process of its own."""
    push(run, private=True)
    environment = {
        **os.environ, "HF_ENDPOINT": server.endpoint, "HF_TOKEN": "hf_write",
        "HF_HOME": str(tmp_path / "other"), "HF_HUB_DISABLE_XET": "1",
        "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu",
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
    path = str(ROOT)
    environment = {**os.environ, "PYTHONPATH": path}
    subprocess.run([sys.executable, "-c", program], env=environment, check=True)
