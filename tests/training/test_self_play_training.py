"""Training against past versions: frames, files, resuming, and what is refused."""

import dataclasses
import json

import pytest
from tiny import tiny_config

from jaxfactory._util.errors import UserError
from jaxfactory.checkpoints import tensor_file
from jaxfactory.config.train import SelfPlayConfig
from jaxfactory.training.loop import train


SELF_PLAY = SelfPlayConfig(self_play_share=0.5, snapshot_every=300, snapshots_kept=3)


def make(updates=4, **changes):
    """Four matches, two with an opponent: 6 of 8 rows learn, 192 frames per rollout."""
    config = tiny_config(
        "duel",
        env={"num_envs": 8, "timeout": 40},
        **{"self_play": SELF_PLAY, **changes},
    )
    return dataclasses.replace(config, total_frames=updates * 6 * 8 * 4)


def metrics(run):
    lines = (run / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    run = tmp_path_factory.mktemp("run") / "run"
    train(make(), run)
    return run


@pytest.mark.vizdoom
def test_only_the_rows_that_learn_count(run):
    rows = metrics(run)
    assert [row["frames"] for row in rows] == [192, 384, 576, 768]
    # 128 tics are three matches of 40; six rows of eight.
    assert rows[-1]["episode/count"] == 18
    assert rows[-1]["league/matches"] == 6
    assert rows[-1]["league/snapshots"] == 2


@pytest.mark.vizdoom
def test_past_versions_and_ratings_are_saved(run):
    record = json.loads((run / "league.json").read_text())
    frames = [row["frames"] for row in record["snapshots"]]
    # Every 300: at the first rollouts from 300 and from 600 on.
    assert frames == [0, 384]
    names = sorted(path.name for path in (run / "snapshots").iterdir())
    assert names == ["000000000000.safetensors", "000000000384.safetensors"]
    arrays = tensor_file.load(run / "snapshots" / names[1])
    assert float(arrays["normalizer.returns.count"]) == 2 * 6 * 8 + 1
    games = [row["wins"] + row["draws"] + row["losses"] for row in record["snapshots"]]
    assert sum(games) == record["matches"] == 6


@pytest.mark.vizdoom
@pytest.mark.slow
@pytest.mark.parametrize("mode", ["sync", "async"])
def test_a_run_resumes_with_its_past_versions(tmp_path, mode):
    run = tmp_path / "run"
    train(make(4, mode=mode), run)
    before = json.loads((run / "league.json").read_text())
    train(make(10, mode=mode), run)
    after = json.loads((run / "league.json").read_text())
    assert after["matches"] > before["matches"]
    frames = [row["frames"] for row in after["snapshots"]]
    assert len(frames) == 3
    assert frames[0] == 0
    assert len(list((run / "snapshots").iterdir())) == 3
    assert metrics(run)[-1]["frames"] == 10 * 192


@pytest.mark.vizdoom
@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[]", "it is not a JSON object"),
        ('{"rating": 1e9}', "a field is invalid; remove"),
        (
            '{"rating": 1, "matches": 0, "draws": 0, "snapshots": '
            '[{"frames": 7, "rating": 1, "wins": 0, "draws": 0, "losses": 0}]}',
            "000000000007.safetensors cannot be read: No such file",
        ),
        (
            '{"rating": 1, "matches": 0, "draws": 0, "snapshots": '
            '[{"frames": 0, "rating": 1, "wins": 0, "draws": 0, "losses": 0},'
            ' {"frames": 0, "rating": 1, "wins": 0, "draws": 0, "losses": 0}]}',
            "a field is invalid",
        ),
    ],
)
def test_a_damaged_league_is_refused(run, text, words):
    file = run / "league.json"
    before = file.read_text()
    file.write_text(text)
    try:
        with pytest.raises(UserError, match=words):
            train(make(5), run)
    finally:
        file.write_text(before)


@pytest.mark.parametrize(
    ("scenario", "changes", "words"),
    [
        ("basic", {}, "needs a match of several agents, and this scenario has 1"),
        ("duel", {"num_minibatches": 4}, "leaves 6 of 8 environments"),
    ],
)
def test_seats_that_do_not_fit_are_refused(tmp_path, scenario, changes, words):
    config = tiny_config(
        scenario, env={"num_envs": 8}, ppo=changes, self_play=SELF_PLAY
    )
    with pytest.raises(UserError, match=words):
        train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("self_play_share", 1.5, "--self-play-share 1.5 must be between 0 and 1"),
        ("snapshot_every", 0, "--snapshot-every 0 must be greater than 0"),
        ("snapshots_kept", 0, "--snapshots-kept 0 must be greater than 0"),
    ],
)
def test_invalid_settings_are_refused(field, value, words):
    with pytest.raises(UserError, match=words):
        SelfPlayConfig(**{field: value})
