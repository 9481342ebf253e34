"""Every scenario can be trained on and evaluated; one is learned to a bar."""

import json

import numpy as np
import pytest
from scenario_wads import needs_wad
from tiny import tiny_config

from jaxfactory.config.train import Config, EnvConfig, EvaluateOptions
from jaxfactory.evaluation.evaluate import run as run_evaluation
from jaxfactory.scenarios import scenario_table
from jaxfactory.training.loop import train


pytestmark = pytest.mark.vizdoom


def small(scenario: str, **changes) -> Config:
    # Short episodes, so that some end.
    return tiny_config(
        scenario, 6, env={"timeout": 100}, network={"measurements_sizes": (8,)},
        **changes,
    )  # fmt: skip


def trained_and_evaluated(config: Config, run, **options) -> dict:
    train(config, run)
    played = run_evaluation(EvaluateOptions(run=run, episodes=4, num_envs=2, **options))
    lines = (run / "metrics.jsonl").read_text().splitlines()
    metrics = [pair for line in lines for pair in json.loads(line).items()]
    losses = [value for name, value in metrics if name.startswith("losses/")]
    assert losses
    assert np.isfinite(losses).all()
    assert played["episodes"] == 4
    assert max(episode["length"] for episode in played["each"]) <= 100
    return played


# (Matches have a test of their own, test_match_training.)
ALONE = [
    name for name in scenario_table.names() if scenario_table.find(name).match is None
]


@pytest.mark.slow
@pytest.mark.parametrize("name", [pytest.param(n, marks=needs_wad(n)) for n in ALONE])
def test_each_scenario_trains(name, tmp_path):
    trained_and_evaluated(small(name), tmp_path / "run")


@pytest.mark.parametrize(
    "mode", ["sync", pytest.param("async", marks=pytest.mark.slow)]
)
def test_a_cfg_with_measurements_trains_in_both_modes(mode, tmp_path):
    cfg = tmp_path / "own.cfg"
    cfg.write_text(
        "doom_scenario_path = deathmatch.wad\nepisode_timeout = 60\n"
        "available_buttons = { ATTACK TURN_LEFT TURN_RIGHT TURN_LEFT_RIGHT_DELTA }\n"
        "available_game_variables = { AMMO2 ANGLE HEALTH }\n"
    )
    run = tmp_path / "run"
    played = trained_and_evaluated(
        small(str(cfg), mode=mode), run, render_mp4=mode == "sync"
    )
    assert played["scenario"] == str(cfg)
    assert (run / "evaluation.mp4").is_file() == (mode == "sync")


@pytest.mark.slow
@pytest.mark.learning
@pytest.mark.timeout(1200)
def test_basic_is_learned(tmp_path):
    """Published agents score 0.75."""
    config = Config(env=EnvConfig(scenario="basic"), total_frames=500_000)
    train(config, tmp_path / "run")
    options = EvaluateOptions(run=tmp_path / "run", episodes=100)
    played = run_evaluation(options)
    # Raw rewards are in the map's units, a hundredth of which is trained on.
    assert 0.01 * played["raw_return"]["mean"] > 0.7
