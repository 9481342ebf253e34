"""Each policy's own weights of the scenario's shaping table."""

import dataclasses

import numpy as np
import pytest
from tiny import tiny_config

from jaxfactory._util.errors import UserError
from jaxfactory.config.agents.population import PopulationConfig
from jaxfactory.envs.pool import make_pool
from jaxfactory.population.history import read
from jaxfactory.scenarios import shaping
from jaxfactory.training.loop import train
from jaxfactory.training.population import loop as population_loop


def test_rows_and_weights_of_a_table():
    table = (
        shaping.Shaping("HEALTH", rise=1.0),
        shaping.Shaping("HITCOUNT"),
        shaping.HeldWeapon(0.1),
        shaping.Shaping("ARMOR", fall=-1.0),
    )
    assert shaping.names(table) == ("HEALTH", "HELD_WEAPON", "ARMOR")
    found = shaping.weights(table, {"ARMOR": 2.0, "HELD_WEAPON": 0.5})
    assert found == [1.0, 1.0, 2.0, 0.5]


@pytest.mark.vizdoom
def test_weights_scale_the_shaping_of_one_row_of_the_pool():
    """In health gathering each medikit pays 1, besides the raw reward."""

    def run(weight):
        with make_pool("health_gathering", num_envs=2, seed=3) as pool:
            pool.reset()
            if weight is not None:
                pool.weigh_shaping(1, [weight, 1.0])
            rewards, raw = [], []
            for t in range(300):
                action = np.full((2, 1), 3 if t % 40 else 1, np.int32)
                step = pool.step(action)
                rewards.append(step.reward.copy())
                raw.append(step.info.raw_reward.copy())
            with pytest.raises(ValueError, match="needs 2 weights, not 3"):
                pool.weigh_shaping(0, [1.0, 1.0, 1.0])
        return np.array(rewards), np.array(raw)

    plain, raw = run(None)
    same, _ = run(1.0)
    weighed, _ = run(2.5)
    np.testing.assert_array_equal(plain, same)
    np.testing.assert_array_equal(plain[:, 0], weighed[:, 0])
    paid = plain[:, 1] - raw[:, 1]
    assert (paid > 0.5).sum() >= 1
    np.testing.assert_allclose(weighed[:, 1] - raw[:, 1], 2.5 * paid, atol=1e-5)


def config(scenario, **changes):
    base = tiny_config(scenario, env={"num_envs": 8})
    population = PopulationConfig(
        num_policies=2,
        pbt=True,
        pbt_period=128,
        pbt_warmup=128,
        pbt_settings=("reward_weights",),
        pbt_mutation_probability=1.0,
    )
    return dataclasses.replace(base, population=population, **changes)


@pytest.mark.slow
@pytest.mark.vizdoom
def test_policies_begin_with_mutated_reward_weights(tmp_path, monkeypatch):
    weighed = []
    inner = population_loop.run_loop

    def run_loop(session):
        pool = session.sampler._collector._pool
        real = pool.weigh_shaping
        monkeypatch.setattr(
            pool,
            "weigh_shaping",
            lambda row, w: (weighed.append((row, w)), real(row, w)),
        )
        inner(session)

    monkeypatch.setattr(population_loop, "run_loop", run_loop)
    train(config("health_gathering", total_frames=128), tmp_path)
    events = read(tmp_path / "population.jsonl")
    own = [event.values["reward_weight/HEALTH"] for event in events[:2]]
    assert own[0] == 1.0
    assert 1.1 <= max(own[1], 1 / own[1]) <= 1.5
    assert weighed[:8] == [(row, [own[row // 4], 1.0]) for row in range(8)]


def test_a_scenario_without_shaping_has_no_reward_weights(tmp_path):
    with pytest.raises(UserError, match="needs a shaping table, and basic has none"):
        train(config("basic", total_frames=128), tmp_path / "run")
    assert not (tmp_path / "run").exists()
