"""A family of environments is a folder and one line in a table."""

import dataclasses
import json

import counting_family
import numpy as np
import pytest

import jaxfactory
from jaxfactory._util.errors import UserError
from jaxfactory.cli import main
from jaxfactory.config import families, runs
from jaxfactory.config.env import EnvConfig, split_options
from jaxfactory.envs import family
from jaxfactory.hub import model_card


NAMES = {"basic": "doom", "gymnasium:CartPole-v1": "gymnasium"}


@pytest.fixture
def third(monkeypatch):
    entry = families.Entry("counters", "counting_family", preset="gymnasium")
    monkeypatch.setitem(families.FAMILIES, counting_family.PREFIX, entry)


@pytest.mark.parametrize("name", [*NAMES, "count:5"])
@pytest.mark.usefixtures("third")
def test_families_implement_the_interface(name):
    kind = family.of(name)
    assert isinstance(kind, family.Family)
    assert family.of(name) is kind
    environment = kind.resolve(EnvConfig(scenario=name, num_envs=2, num_groups=1))
    assert isinstance(environment, family.ResolvedEnv)
    assert kind.is_installed(name)
    assert kind.reference(name) == name


def test_a_scenario_object_is_dooms():
    row = family.of("basic").find("basic")
    assert family.of(row) is family.of("basic")


@pytest.mark.usefixtures("third")
def test_a_third_family_is_trained_evaluated_and_filmed(tmp_path, capsys):
    run = tmp_path / "run"
    argv = [
        "train", "--scenario=count:5", f"--run={run}", "--num-envs=4",
        "--num-minibatches=2", "--num-steps=8", "--total-frames=3200",
        "--learning-rate=0.01",
    ]  # fmt: skip
    assert main.main(argv) == 0
    saved = runs.load_config(run)
    # Its preset is the one that the table names.
    assert (saved.network.core, saved.env.frame_skip) == ("none", 1)
    score = jaxfactory.evaluate(
        run, episodes=4, num_envs=2, deterministic=True, render_mp4=True
    )
    assert score["length"]["mean"] == 5
    assert score["raw_return"]["mean"] == 5  # 5 steps that each pay 1
    assert "map" not in json.loads((run / runs.EVALUATION).read_text())
    assert (run / "evaluation.mp4").stat().st_size
    assert model_card.environment_id("count:5") == "count-5"
    assert main.main(["evaluate", f"--run={run}", "--scenario=basic"]) == 2
    assert "cannot be evaluated on basic" in capsys.readouterr().err


@pytest.mark.usefixtures("third")
def test_settings_of_another_family_are_refused():
    with pytest.raises(UserError, match="--width is for Doom and does nothing for co"):
        EnvConfig(scenario="count:5", width=64)
    with pytest.raises(UserError, match="is for Gymnasium's environments"):
        EnvConfig(scenario="count:5", processes=True)


@pytest.mark.usefixtures("third")
def test_make_pool_by_name():
    with jaxfactory.make_pool("count:2", num_envs=2) as pool:
        assert isinstance(pool, family.Pool)
        pool.reset()
        step = pool.step(np.array([[1], [0]], np.int32))
        assert step.reward.tolist() == [1, 0]
        step = pool.step(np.array([[1], [0]], np.int32))
        assert step.terminated.all()
        assert step.info.episode_raw_return.tolist() == [2, 0]


def test_options_are_split_by_the_fields_of_env_config():
    names = [field.name for field in dataclasses.fields(EnvConfig)]
    fields, rest = split_options({**dict.fromkeys(names, 0), "pin": 1, "seed": 2})
    assert list(fields) == names
    assert rest == {"pin": 1, "seed": 2}
