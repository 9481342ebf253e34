"""Policies meet each other in matches, and are ranked by their win rates."""

import dataclasses
import json

import jax
import numpy as np
import pytest
from tiny import tiny_config

from jaxfactory._util.errors import UserError
from jaxfactory.config.agents.population import PopulationConfig
from jaxfactory.config.network import BonusConfig
from jaxfactory.population import collector as collecting
from jaxfactory.population.history import read
from jaxfactory.training.loop import train


# One rollout of a policy: 2 seats x 8 steps x 4 tics.
ROLLOUT = 64


def make(updates, scenario="duel", **changes):
    """Four matches of two agents, in which each of four policies has two seats."""
    config = tiny_config(scenario, env={"num_envs": 8, "timeout": 40}, **changes)
    population = PopulationConfig(
        num_policies=4,
        pbt=True,
        pbt_period=ROLLOUT,
        pbt_warmup=0,
        pbt_objective="win_rate",
        pbt_mutation_probability=1.0,
    )
    return dataclasses.replace(
        config, population=population, total_frames=updates * ROLLOUT
    )


@pytest.mark.slow
@pytest.mark.vizdoom
def test_policies_meet_each_other(tmp_path, monkeypatch):
    """Also with exploration bonuses, whose state has arrays for each environment."""
    acted = []
    inner = collecting.PopulationCollector._choose

    def choose(self, policy, rows, inputs, key, count):
        outputs = inner(self, policy, rows, inputs, key, count)
        if count == 0:
            # Copies: the pool's memory is used again.
            copies = jax.tree.map(np.array, inputs)
            acted.append((self, policy, copies, outputs))
        return outputs

    monkeypatch.setattr(collecting.PopulationCollector, "_choose", choose)
    bonus = BonusConfig(bonus="rnd+episodic")
    train(make(4, intrinsic=bonus), tmp_path)
    collector, policies, (obs, carry, is_first), (_, _, value, _) = acted[0]
    owner = collector._owner[: len(value)]
    assert sorted(owner.reshape(-1, 2)[0].tolist()) != [0, 0]
    for number in range(4):
        one = policies.members[number]
        alone = np.asarray(
            collector._value_fn(one.params, one.normalizer, obs, carry, is_first)
        )
        mine = owner == number
        assert mine.any()
        np.testing.assert_allclose(value[mine], alone[mine], atol=1e-5)
    row = json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[-1])
    # 32 steps are 128 tics: three matches of 40 in each of eight seats.
    assert row["episode/count"] == 24
    assert "losses/bonus_loss" in row or any("bonus" in name for name in row)
    kinds = [event.kind for event in read(tmp_path / "population.jsonl")]
    # The first rollout of 32 tics ends no match.
    assert kinds[4:8] == ["skip"] * 4
    assert "mutate" in kinds


def test_a_win_rate_needs_matches(tmp_path):
    with pytest.raises(UserError, match="win_rate needs matches, and basic has none"):
        train(make(2, "basic"), tmp_path / "run")
    assert not (tmp_path / "run").exists()
