"""Training runs with exploration bonuses: both modes, resuming, evaluation."""

import json

import numpy as np
import pytest
from saved_states import assert_equal
from tiny import tiny_config

from jaxfactory.checkpoints.saved_run import load_for_evaluation
from jaxfactory.config import runs
from jaxfactory.config.network import BonusConfig
from jaxfactory.config.train import EvaluateOptions
from jaxfactory.evaluation.evaluate import run as run_evaluation
from jaxfactory.training.loop import train


pytestmark = pytest.mark.vizdoom

BOTH = BonusConfig(bonus="rnd+episodic")
METRICS = {
    "losses/bonus_rnd", "losses/bonus_episodic", "losses/bonus_mean",
    "losses/bonus_advantage_std", "losses/bonus_explained_variance",
    "losses/bonus_value_loss", "losses/rnd_loss", "losses/inverse_loss",
}  # fmt: skip


def rows_of(path):
    return [json.loads(line) for line in (path / runs.METRICS).read_text().splitlines()]


def check(config, path):
    """Train three updates, resume, restore and evaluate."""
    state = train(config, path)
    rows = rows_of(path)
    assert len(rows) == 3
    for row in rows:
        assert row.keys() >= METRICS
        assert all(np.isfinite(row[name]) for name in METRICS)
    # Nothing is left to train: what is restored is what was saved.
    assert_equal(train(config, path), state)
    assert_equal(load_for_evaluation(path).restore(state), state)
    result = run_evaluation(EvaluateOptions(run=path, episodes=2, num_envs=2))
    assert "bonus" not in json.dumps(result)
    return rows


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["sync", "async"])
def test_a_run_with_both_bonuses(mode, tmp_path):
    config = tiny_config("my_way_home", 3, mode=mode, intrinsic=BOTH)
    check(config, tmp_path / "run")


def test_without_images(tmp_path):
    config = tiny_config(
        "gymnasium:CartPole-v1",
        3,
        env={"num_groups": 1, "frame_skip": 1},
        network={"core": "none"},
        intrinsic=BOTH,
    )
    last = check(config, tmp_path / "run")[-1]
    assert last["losses/bonus_rnd"] > 0
    assert last["losses/bonus_episodic"] > 0
