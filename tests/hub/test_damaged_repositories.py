"""Repositories and disks that fail a `pull`."""

import errno
import json
import shutil
from pathlib import Path

import huggingface_hub
import pytest
from hub_runs import REPO, files_under, pull, push, refused
from huggingface_hub import constants

from jaxfactory.hub import pull as hub_pull


# The client's own; users do not see it.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


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
        ({"format": 2}, "has format 2, but this version reads up to 1"),
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
