"""Evaluations that a stranger made to do harm: each is refused with one message."""

import json
import math
import sys

import pytest
from hostile_runs import EVALUATION, SUMMARY, sentence, shown_run

from jaxfactory.cli import main
from jaxfactory.config.train import EvaluateOptions
from jaxfactory.evaluation.evaluate import Evaluation, score
from jaxfactory.report import run_data
from jaxfactory.rollout.episode import Episode


ODD_EPISODE = Episode(*(0,) * len(Episode._fields))._replace(length=4)
EVALUATIONS = [
    {"raw_return": {**SUMMARY, "mean": None}},
    {"raw_return": {**SUMMARY, "mean": "1e9"}},
    {"raw_return": {**SUMMARY, "mean": 1e300}},
    {"raw_return": {**SUMMARY, "what": "<script>"}},
    {"raw_return": {"mean": 1.0}},
    {"length": [1, 2, 3, 4, 5]},
    {"frags": "many"},
    {"place": {**SUMMARY, "max": True}},
    {"episodes": "100</td><script>"},
    {"episodes": -3},
    {"frames_trained": 2**70 // 2**10},
    {"frames_trained": 512.0},
    {"checkpoint": "../../x"},
    {"checkpoint": "1" * 21},
    {"checkpoint": 512},
    {"checkpoint": "best`\n# A title\n<img src=x>"},
    {"deterministic": "yes"},
    {"seed": "; rm -rf ~"},
    {"seed": -1},
    {"num_envs": [20]},
    {"truncated": {}},
    {"date": "2026-01-02\n---\nlicense: mit"},
    {"date": "<b>2026</b>"},
    {"date": 20260102},
    {"scenario": "\x1b]0;title\x07"},
    {"scenario": None},
    {"map": "a\x1b[31mb"},
    {"map": {"a": ["b", "c\nd"]}},
    {"each": {"raw_return": 1.0}},
    {"each": [{"raw_return": 1.0}]},
    {"each": [{"raw_return": 1.0, "shaped_return": 1e300}]},
    {"each": [{"raw_return": 1.0, "shaped_return": 1.0, "place": "<script>"}]},
]


@pytest.mark.parametrize("changes", EVALUATIONS, ids=range(len(EVALUATIONS)))
def test_an_evaluation_that_is_no_score(tmp_path, changes, capsys):
    run = shown_run(tmp_path / "run", **changes)
    (name,) = changes
    words = f"evaluation.json cannot be read: its {name} is "
    assert main.main(["push", str(run), "ada/doom"]) == 2
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1
    assert said.strip().isprintable()
    # A report of several runs is without it.
    with pytest.warns(UserWarning, match=words) as caught:
        assert run_data.read(run).evaluation is None
    assert str(caught[0].message).isprintable()


def test_a_report_is_without_an_evaluation_that_cannot_be_read(tmp_path, capsys):
    run = shown_run(tmp_path / "run", raw_return={**SUMMARY, "mean": math.nan})
    with pytest.warns(UserWarning, match="holds NaN, .*the report leaves it out"):
        assert main.main(["report", str(run)]) == 0
    assert (run / "report.html").exists()
    # Those of the first versions list no episodes, and were never in a report.
    whole = json.loads(json.dumps(EVALUATION))
    del whole["each"]
    (run / "evaluation.json").write_text(json.dumps(whole))
    assert run_data.read(run).evaluation is None
    assert main.main(["push", str(run), "ada/doom"]) == 2
    assert "its each is None; evaluate again with" in capsys.readouterr().err


@pytest.mark.parametrize("value", [math.nan, math.inf, -1e300])
def test_a_score_that_is_no_number_is_not_written(tmp_path, monkeypatch, value):
    run = shown_run(tmp_path / "run")
    before = (run / "evaluation.json").read_bytes()
    odd = ODD_EPISODE._replace(raw_return=value)
    played = Evaluation([[ODD_EPISODE, odd]], None)
    monkeypatch.setattr(
        sys.modules[score.__module__], "run_episodes", lambda *arguments: played
    )
    options = EvaluateOptions(run=run, episodes=2, num_envs=1)
    said = sentence(score, options)
    assert f"the return of episode 1 is {value:g}, so there is no score" in said
    assert (run / "evaluation.json").read_bytes() == before


def test_an_evaluation_of_a_later_version_is_read(tmp_path):
    run = shown_run(tmp_path / "run", later="cig.wad", more={"a": [1, None, "b"]})
    assert run_data.read(run).evaluation["later"] == "cig.wad"
