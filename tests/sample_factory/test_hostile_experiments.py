"""Experiments of Sample Factory's whose .pth file holds what none should.

`test_hostile_files` has files that are none, and `fuzz_readers` invents more.
"""

import json

import fuzz_readers
import numpy as np
import pytest
import torch_writer
from hostile_runs import sentence
from places import EXPERIMENTS

from jaxfactory.sample_factory import convert, torch_file


@pytest.fixture
def experiment(tmp_path):
    """Return a function that makes an experiment after a change of its checkpoint."""
    data = EXPERIMENTS / "gru"
    (file,) = data.rglob("*.pth")

    def make(change, **settings):
        held = torch_file.load(file)
        change(held)
        place = tmp_path / "experiment" / file.relative_to(data)
        place.parent.mkdir(parents=True)
        torch_writer.write(place, torch_writer.tensors(held))
        values = json.loads((data / "config.json").read_text())
        text = json.dumps({**values, **settings})
        (tmp_path / "experiment" / "config.json").write_text(text)
        return tmp_path / "experiment"

    return make


@pytest.fixture
def unwritten(monkeypatch):
    monkeypatch.setattr(fuzz_readers.manager, "Checkpointer", fuzz_readers.Unwritten)


def state_of(held):
    return held["optimizer"]["state"]


def moment(name, index, value):
    return lambda held: state_of(held)[index].update({name: value})


# The last of the arrays is a bias.
OPTIMIZERS = [
    lambda held: held.update(optimizer=[]),
    lambda held: held["optimizer"].update(state={"a": {}, 2: {}}),
    lambda held: state_of(held).update(a={}),
    lambda held: state_of(held).update({0: 5}),
    lambda held: state_of(held).update({0: None}),
    moment("step", 0, [1, 2]),
    moment("step", 0, "abc"),
    moment("step", 0, float("nan")),
    moment("step", 0, float("inf")),
    moment("step", 0, 2**100),
    moment("step", 0, 2**31),
    moment("step", 0, -5),
    moment("step", 0, np.zeros(1, np.float32)),
    moment("step", 0, np.array(-1.0)),
    moment("exp_avg", 0, [[1], [1, 2]]),
    moment("exp_avg", 1, [0.0] * 4),
    moment("exp_avg", 1, ["a"] * 4),
    moment("exp_avg", 1, np.zeros(4, bool)),
    moment("exp_avg", 1, np.zeros(5)),
    moment("exp_avg", 1, np.full(4, np.nan)),
    moment("exp_avg", 1, np.full(4, 1e300)),
    moment("exp_avg_sq", 1, np.full(4, -1.0)),
    moment("exp_avg_sq", 1, None),
]


@pytest.mark.usefixtures("unwritten")
@pytest.mark.parametrize("change", OPTIMIZERS, ids=range(len(OPTIMIZERS)))
def test_an_optimizer_that_is_none_is_left_out(tmp_path, experiment, change):
    made = convert.convert(experiment(change), None, tmp_path / "run")
    assert "Adam's moments were not imported: they start at zero" in made.notes


@pytest.mark.usefixtures("unwritten")
def test_the_same_experiment_unchanged_keeps_its_optimizer(tmp_path, experiment):
    kept = experiment(moment("step", 0, 7))
    made = convert.convert(kept, None, tmp_path / "run")
    assert not any("Adam" in note for note in made.notes)


BIAS = "critic_linear.bias"
IMAGE = "obs_normalizer.running_mean_std.running_mean_std.obs"


def weight(name, value):
    return lambda held: held["model"].update({name: value})


MODELS = [
    (lambda held: held.update(train_step=2**40), "its train_step is 1.09951e+12"),
    (lambda held: held.update(train_step=float("nan")), "its train_step is nan"),
    (lambda held: held.update(env_steps=-1), "its env_steps is -1"),
    (weight(BIAS, np.array([np.nan])), "critic_linear.bias in its model is NaN"),
    (weight(BIAS, np.array([-np.inf])), "so that the agent cannot act"),
    (weight(BIAS, np.array([1e300])), "infinite or too large"),
    (weight(f"{IMAGE}.running_mean", np.full((3, 28, 36), np.nan)), "is NaN"),
    (weight(f"{IMAGE}.running_var", np.full((3, 28, 36), -1.0)), "negative variance"),
    (weight(f"{IMAGE}.count", np.array([-5.0])), "negative variance or count"),
]


@pytest.mark.usefixtures("unwritten")
@pytest.mark.parametrize(("change", "words"), MODELS, ids=range(len(MODELS)))
def test_an_agent_that_could_not_act(tmp_path, experiment, change, words):
    run = tmp_path / "run"
    said = sentence(convert.convert, experiment(change), None, run)
    assert words in said
    assert not run.exists()


@pytest.mark.usefixtures("unwritten")
def test_weights_that_the_settings_make_too_large(tmp_path, experiment):
    kernel = "encoder.basic_encoder.enc.conv_head.0.weight"
    made = experiment(
        lambda held: held["model"].update(
            {kernel: np.full_like(held["model"][kernel], 1e38)}
        ),
        normalize_input=False,
        obs_scale=1.0,
    )
    said = sentence(convert.convert, made, None, tmp_path / "run")
    assert "overflow float32" in said


@pytest.mark.parametrize("scenario", ["deadly_corridor", "basic"])
def test_a_long_name_of_an_environment(tmp_path, experiment, scenario):
    made = experiment(lambda held: None, env="\x1b[2J" + "x" * 100_000)
    said = sentence(convert.convert, made, scenario, tmp_path / "run")
    assert "its env is '\\x1b[2Jxx" in said
    assert len(said) < 500
