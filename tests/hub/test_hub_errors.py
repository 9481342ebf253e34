"""The Hub refuses or breaks off: one error message, and the command can be repeated."""

import json
from pathlib import Path

import pytest
from hub_runs import EVALUATION, REPO, make_state, pull, push, refused
from huggingface_hub import constants
from saved_states import assert_equal

from jaxfactory.checkpoints.saved_run import load_for_evaluation


# The client's own; users do not see it.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


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


def test_a_hub_without_the_storage_that_the_client_wants(
    server, run, monkeypatch, capsys
):
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", False)
    assert "set HF_HUB_DISABLE_XET=1 to bypass it" in refused(capsys, "push", run, REPO)
