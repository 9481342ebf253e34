"""A run's settings and versions are recorded, and repeat it."""

import json

import pytest
from gymnasium_tasks import COUNTER
from saved_states import assert_equal
from tiny import tiny_config

from jaxfactory._util import versions
from jaxfactory._util.errors import UserError
from jaxfactory.checkpoints.saved_run import load_for_evaluation
from jaxfactory.cli.main import main
from jaxfactory.config import runs
from jaxfactory.training.loop import train
from jaxfactory.training.options import as_config, parse_train


def config(updates):
    return tiny_config(COUNTER, updates, env={"frame_skip": 1}, seed=3)


def test_a_run_is_repeated(tmp_path, capsys):
    first, again = tmp_path / "first", tmp_path / "again"
    state = train(config(2), first)
    replay = ["--replay-config", str(first / runs.CONFIG), "--run", str(again)]
    assert as_config(parse_train(replay)) == config(2)
    assert main(["train", *replay]) == 0
    assert_equal(load_for_evaluation(again).restore(state), state)
    assert "may not be repeated" not in capsys.readouterr().err
    (session,) = versions.recorded(first)
    assert session["frames"] == 0
    assert {"python", "jax", "jaxlib", "flax", "optax", "numpy", "vizdoom",
            "jaxfactory", "cpu", "kernels"} <= session.keys()  # fmt: skip
    assert session["kernels"].startswith("cpu: ")
    # On another machine, or later.
    session["numpy"], session["cpu"] = "1.0", "abacus"
    (first / versions.FILE).write_text(json.dumps([session]))
    with pytest.warns(UserWarning, match=r"had numpy 1.0 \(here .*cpu abacus \(here"):
        assert main(["train", *replay[:2], "--run", str(tmp_path / "third")]) == 0


def test_sessions_are_listed_where_they_differ(tmp_path):
    def open_session(frames, jax):
        text = versions.with_session(tmp_path, frames, {"jax": jax, "cpu": "a"})
        (tmp_path / versions.FILE).write_text(text)
        return [(row["frames"], row["jax"]) for row in versions.recorded(tmp_path)]

    assert open_session(0, "1") == [(0, "1")]
    assert open_session(100, "1") == [(0, "1")]
    assert open_session(200, "2") == [(0, "1"), (200, "2")]
    # Resumed from an older checkpoint: what follows it is trained again.
    assert open_session(150, "3") == [(0, "1"), (150, "3")]
    (tmp_path / versions.FILE).write_text("{")
    assert versions.recorded(tmp_path) == []


@pytest.mark.parametrize(("more", "sentence"), [
    (["--preset", "reference"], "--preset gives others"), ([], "there is no file"),
])  # fmt: skip
def test_what_cannot_be_replayed_is_a_sentence(tmp_path, more, sentence):
    with pytest.raises(UserError, match=sentence):
        parse_train(["--replay-config", str(tmp_path / "config.json"), *more])
