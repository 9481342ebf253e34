"""Policies meet each other in matches, and are ranked by their win rates."""

import dataclasses
import json

import jax
import numpy as np
import pytest
from tiny import tiny_config

from jaxfactory._util.errors import UserError
from jaxfactory.config.agents.population import PopulationConfig
from jaxfactory.config.agents.self_play import SelfPlayConfig
from jaxfactory.config.network import BonusConfig
from jaxfactory.league.self_play import SelfPlay
from jaxfactory.population import collector as collecting
from jaxfactory.population import selection
from jaxfactory.population.history import read
from jaxfactory.training.loop import train


# One rollout of a policy: 2 seats x 8 steps x 4 tics; 3 seats of `make_past`.
ROLLOUT = 64
PAST_ROLLOUT = 96


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


def make_past(updates):
    """Four matches: each of two policies has one against the past, and two others."""
    config = tiny_config(
        "duel",
        env={"num_envs": 8, "num_groups": 1, "timeout": 40},
        ppo={"num_minibatches": 1},
        self_play=SelfPlayConfig(self_play_share=0.5, snapshot_every=150),
    )
    population = PopulationConfig(
        num_policies=2, pbt=True, pbt_period=PAST_ROLLOUT, pbt_warmup=0
    )
    return dataclasses.replace(
        config, population=population, total_frames=updates * PAST_ROLLOUT
    )


def last_metrics(run):
    return json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])


@pytest.mark.vizdoom
def test_policies_play_against_the_past_of_all(tmp_path, monkeypatch):
    acted, ratings = [], []
    choose, become = collecting.PopulationCollector._choose, SelfPlay.become

    def checked(self, policy, rows, inputs, key, count):
        outputs = choose(self, policy, rows, inputs, key, count)
        for rival in self._rivals:
            for past, at in rival.opponents(rows):
                alone = self._value_fn(past.params, past.normalizer, *inputs)
                np.testing.assert_allclose(
                    outputs[2][at], np.asarray(alone)[at], atol=1e-5
                )
                acted.append((past.frames, at.tolist()))
        return outputs

    def recorded(self, rating):
        ratings.append((rating, self.rivals[0].rating))
        become(self, rating)

    monkeypatch.setattr(collecting.PopulationCollector, "_choose", checked)
    monkeypatch.setattr(SelfPlay, "become", recorded)
    monkeypatch.setattr(
        selection,
        "select",
        lambda options, scores, values, *rest: [selection.Change(1, 0, values[0])],
    )
    train(make_past(4), tmp_path)
    folders = [tmp_path / "policies" / str(number) for number in (0, 1)]
    # 8 steps of one group, in each of which two opponents act, in four rollouts.
    assert [at for _, at in acted] == [[0], [3]] * 32
    for folder in folders:
        row = last_metrics(folder)
        assert row["frames"] == 4 * PAST_ROLLOUT
        # 128 tics are three matches of 40 tics. Policy 1 is replaced in its second and
        # in its third one, which do not count.
        assert row["league/matches"] == (3 if folder is folders[0] else 1)
        record = json.loads((folder / "league.json").read_text())
        assert [one["frames"] for one in record["snapshots"]] == [0, 192]
        assert len(list((folder / "snapshots").iterdir())) == 2
    assert last_metrics(folders[0])["episode/count"] == 3 * 3
    # Ranked after 192, 288 and 384 frames; before, no match had ended.
    assert len(ratings) == 3
    assert all(rating == parent for rating, parent in ratings)
    train(make_past(6), tmp_path)
    record = json.loads((folders[1] / "league.json").read_text())
    assert [one["frames"] for one in record["snapshots"]] == [0, 192, 384, 480]
    assert record["matches"] == 2
    assert record["frames"] == 6 * PAST_ROLLOUT


def test_seats_that_make_no_minibatches_are_refused(tmp_path):
    config = make_past(1)
    ppo = dataclasses.replace(config.ppo, num_minibatches=2)
    with pytest.raises(UserError, match="leaves 3 of 4 environments to learn from"):
        train(dataclasses.replace(config, ppo=ppo), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_win_rate_needs_matches(tmp_path):
    with pytest.raises(UserError, match="win_rate needs matches, and basic has none"):
        train(make(2, "basic"), tmp_path / "run")
    assert not (tmp_path / "run").exists()
