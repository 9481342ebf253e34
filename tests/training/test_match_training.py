"""Self-play end to end: one policy in all seats, trained, scored and filmed."""

import dataclasses
import json

import av
import numpy as np
import pytest
from tiny import tiny_config

from jaxfactory.config.train import Config, EvaluateOptions
from jaxfactory.evaluation.evaluate import run as run_evaluation
from jaxfactory.scenarios import scenario_table
from jaxfactory.training.loop import train


pytestmark = pytest.mark.vizdoom


MATCHES = [name for name in scenario_table.names() if scenario_table.find(name).match]


def small(scenario: str, **changes) -> Config:
    # Episodes of 100 tics, 25 decisions, of which each agent takes 40.
    return tiny_config(scenario, 5, env={"timeout": 100}, **changes)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["sync", "async"])
@pytest.mark.parametrize("scenario", MATCHES)
def test_each_match_trains(tmp_path, mode, scenario):
    """Groups hold whole matches: as many agents as two of the largest have."""
    config = small(scenario, mode=mode)
    agents = scenario_table.find(scenario).match.agents
    env = dataclasses.replace(config.env, num_envs=max(4, 2 * agents))
    config = dataclasses.replace(config, env=env, total_frames=5 * env.num_envs * 8 * 4)
    run = tmp_path / "run"
    train(config, run)
    lines = (run / "metrics.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    losses = [
        value
        for row in rows
        for name, value in row.items()
        if name.startswith("losses/")
    ]
    assert losses
    assert np.isfinite(losses).all()
    assert rows[-1]["frames"] == config.total_frames
    result = run_evaluation(EvaluateOptions(run=run, episodes=agents, num_envs=agents))
    players = agents + scenario_table.find(scenario).match.bots
    assert 1 <= result["place"]["mean"] <= players


def test_train_and_evaluate_a_match(tmp_path, capsys):
    config = small("duel")
    run = tmp_path / "run"
    train(config, run)
    lines = (run / "metrics.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    assert rows[-1]["frames"] == config.total_frames
    ended = [row for row in rows if "episode/place" in row]
    # All four agents, two a match, ended one episode each.
    assert ended[-1]["episode/count"] == 4
    assert 1 <= ended[-1]["episode/place"] <= 2
    assert ended[-1]["episode/frags"] == ended[-1]["episode/raw_return"]

    # Three environments are no whole number of matches: two are played.
    options = EvaluateOptions(run=run, episodes=3, num_envs=3, render_mp4=True)
    result = run_evaluation(options)
    assert result["episodes"] == 3
    assert result["length"]["mean"] == 100
    assert 1 <= result["place"]["mean"] <= 2
    assert 0 <= result["first_places"] <= 3
    out = capsys.readouterr().out
    assert {"frags", "place"} <= set(out.split())
    assert f"first in {result['first_places']} of 3 episodes" in out
    with av.open(str(run / "evaluation.mp4")) as video:
        assert sum(1 for _ in video.decode(video=0)) == 101
