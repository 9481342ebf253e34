"""Runs that start from another run's weights: what is copied, and what is not."""

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
from places import EXPERIMENTS
from source_runs import begun, config_of, fresh, parsed, refused, roots, trained
from tiny import tiny_config

import jaxfactory
from jaxfactory._util import jax_setup
from jaxfactory._util.errors import UserError
from jaxfactory.checkpoints import checkpoint_files
from jaxfactory.checkpoints.saved_run import load_for_evaluation
from jaxfactory.cli import main
from jaxfactory.config import flat_text, runs
from jaxfactory.config.presets import PRESETS
from jaxfactory.config.train import PPOConfig
from jaxfactory.sample_factory import convert
from jaxfactory.sweep import sweep_file
from jaxfactory.training import init_from, transfer


GRU = EXPERIMENTS / "gru"
# Each rollout has 4 environments x 8 steps.
CARTPOLE = tiny_config(
    "gymnasium:CartPole-v1", updates=2, env={"num_groups": 1, "frame_skip": 1},
    network={"measurements_sizes": (8,), "core": "none"},
)  # fmt: skip


@pytest.fixture(autouse=True)
def in_an_empty_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # It sets flags for a JAX that has long been started here.
    monkeypatch.setattr(jax_setup, "configure", lambda: None)
    init_from._pulled.cache_clear()


def test_all_of_it_on_the_same_scenario():
    trained(Path("source"), config_of("health_gathering"))
    taken, said = begun("source", config_of("health_gathering"))
    assert roots(taken) == {
        "encoder.conv", "encoder.dense", "core", "policy", "value", "obs.image",
        "returns",
    }  # fmt: skip
    assert said == (
        "copied from source (4,096 frames): encoder, core, policy head, value head, "
        "observation statistics, return statistics"
    )
    # 2 arrays each of 3 convolutions, a dense layer and 2 heads; a GRU's 4; statistics.
    assert len(taken) == 2 * (3 + 1 + 2) + 4 + 3 + 3


def test_the_same_heads_on_another_scenario():
    trained(Path("source"), config_of("health_gathering"))
    taken, said = begun("source", config_of("health_gathering_supreme"))
    assert roots(taken) >= {"policy", "value", "obs.image"}
    assert "returns" not in roots(taken)
    assert said.endswith(
        "statistics; newly initialized: return statistics (rewards differ)"
    )
    # The same rewards in another size, or with another horizon.
    for field, value in (("reward_scale", 2.0), ("reward_clip", 1.0)):
        config = config_of("health_gathering")
        env = dataclasses.replace(config.env, **{field: value})
        taken, _ = begun("source", dataclasses.replace(config, env=env))
        assert "returns" not in roots(taken)
    config = config_of("health_gathering")
    config = dataclasses.replace(config, ppo=PPOConfig(gamma=0.9))
    assert "returns" not in roots(begun("source", config)[0])


@pytest.mark.parametrize(
    ("scenario", "words"),
    [
        ("basic", "policy head (4 choices instead of 5)"),
        # As many logits.
        ("defend_the_center", "policy head (3 x 2 choices instead of 5)"),
    ],
)
def test_other_heads_are_fresh(scenario, words):
    trained(Path("source"), config_of("health_gathering", decoder_sizes=(8,)))
    taken, said = begun("source", config_of(scenario, decoder_sizes=(8,)))
    assert roots(taken) == {"encoder.conv", "encoder.dense", "core", "obs.image"}
    assert said == (
        "copied from source (4,096 frames): encoder, core, observation statistics; "
        f"newly initialized: decoder, {words}, value head, return statistics "
        "(rewards differ)"
    )


def test_heads_that_press_other_buttons_are_told():
    trained(Path("source"), config_of("basic"))
    taken, said = begun("source", config_of("defend_the_center_flat"))
    assert "policy" in roots(taken)
    words = "policy head (its choices press other buttons in the source), value head"
    assert words in said


def test_measurements_that_the_other_has_not():
    trained(Path("source"), config_of("health_gathering"))
    taken, said = begun("source", config_of("deathmatch"))
    assert roots(taken) == {"encoder.conv", "encoder.dense", "obs.image"}
    # 16 features of the image and 8 of the measurements; a GRU of 16 has 48 columns.
    assert said == (
        "copied from source (4,096 frames): image encoder, observation statistics; "
        "newly initialized: measurements encoder (the source has none), core "
        "(core.kernel is 24x48 instead of 16x48), policy head (2 x 2 x 2 x 3 x 3 x 3 x "
        "7 x 3 x 11 x 11 x 11 choices instead of 5), value head, return statistics "
        "(rewards differ)"
    )
    shutil.rmtree("source")
    trained(Path("source"), config_of("deathmatch"))
    taken, said = begun("source", config_of("health_gathering"))
    assert roots(taken) == {"encoder.conv", "encoder.dense", "obs.image"}
    assert "core (core.kernel is 16x48 instead of 24x48)" in said


def test_another_core():
    trained(Path("source"), config_of("health_gathering"))
    encoder = {"encoder.conv", "encoder.dense", "obs.image", "returns"}
    taken, said = begun("source", config_of("health_gathering", core_size=8))
    assert roots(taken) == encoder
    assert said.endswith(
        "newly initialized: core (core.kernel is 16x24 instead of 16x48), policy head, "
        "value head"
    )
    taken, _ = begun("source", config_of("health_gathering", core="none"))
    assert roots(taken) == encoder


def test_nothing_that_fits_is_refused():
    trained(Path("source"), config_of("health_gathering"))
    config = config_of("health_gathering", conv_channels=(8, 4, 4))
    with pytest.raises(UserError) as caught:
        begun("source", config)
    assert str(caught.value) == (
        "no weights of source fit this run (image encoder (encoder.conv_0.kernel is "
        "8x8x3x8 instead of 8x8x3x4); core; policy head; value head); leave out "
        "--init-from, or the flags that change the network or the observation"
    )


def test_another_encoder_of_ours_is_refused():
    config = config_of("basic", encoder="another")
    runs.open_run(Path("source"), config)
    with pytest.raises(
        UserError, match="another kind of encoder, conv instead of another; leave"
    ):
        parsed("--init-from", "source", "--encoder", "conv")


def test_the_defaults_are_the_sources():
    source = config_of("health_gathering", core="lstm")
    env = dataclasses.replace(
        source.env, width=64, height=36, wide=True, frame_skip=2, reward_scale=3.0
    )
    ppo = PPOConfig(normalize_returns=False, learning_rate=0.5)
    trained(Path("source"), dataclasses.replace(source, env=env, ppo=ppo))
    config = parsed("--init-from", "source")
    assert config.network == source.network
    # What is not of the network or the observation is a new run's, whose scenario
    # decides the preset.
    wanted = dataclasses.replace(env, num_envs=64)
    assert config.env == wanted
    preset = PRESETS["short_horizon"]
    assert config.ppo == dataclasses.replace(preset.ppo, normalize_returns=False)
    assert (config.seed, config.total_frames) == (0, 4_000_000)
    assert config.init_from == str(Path("source").resolve())
    config = parsed(
        "--init-from=source", "--scenario=basic", "--core", "gru", "--width", "128",
        "--seed", "4", "--preset", "reference",
    )  # fmt: skip
    # The reward's settings go with the scenario.
    assert config.env == dataclasses.replace(
        wanted, scenario="basic", width=128, reward_scale=1.0, num_envs=32
    )
    assert config.network == dataclasses.replace(source.network, core="gru")
    assert (config.ppo.num_epochs, config.seed) == (1, 4)
    assert "init-from" in flat_text.training(config)
    # A run of Gymnasium's takes no observation of Doom's.
    config = parsed("--init-from=source", "--scenario=gymnasium:CartPole-v1")
    assert (config.env.width, config.env.frame_skip) == (128, 1)


def test_mistakes_are_one_sentence(capsys):
    trained(Path("source"), config_of("health_gathering"))
    assert "a value is missing" in refused(capsys, "--init-from").lower()
    for name in ("/nowhere", "nowhere", "../x", "a/b/c", "~/nowhere", "~nobody"):
        words = refused(capsys, "--init-from", name)
        assert f"--init-from {name}: there is no such directory; give a run's" in words
    for name in ("a b/c", f"a/{'b' * 300}"):
        assert f"{name!r} is not a repository name" in refused(
            capsys, "--init-from", name
        )
    Path("empty").mkdir()
    assert "empty is not a jaxfactory run; train" in refused(
        capsys, "--init-from", "empty"
    )
    words = refused(capsys, "--init-from", str(GRU))
    assert f"import it first: jaxfactory import-sample-factory {GRU}" in words
    runs.open_run(Path("begun"), config_of("basic"))
    assert "has no best checkpoint" in refused(
        capsys, "--init-from", "begun", "--run", "new"
    )
    shutil.copytree("source", "damaged")
    for file in Path("damaged").rglob("state/**/*"):
        if file.is_file():
            file.write_bytes(b"")
    words = refused(capsys, "--init-from", "damaged", "--run", "new")
    assert "is damaged" in words
    big = ("--core", "none", "--conv-channels", "8", "8", "8")
    assert "no weights of source fit" in refused(
        capsys, "--init-from", "source", "--run", "new", *big
    )
    assert not Path("new").exists()


def test_a_run_that_has_begun_goes_on(capsys):
    trained(Path("source"), config_of("health_gathering"))
    trained(Path("mine"), config_of("health_gathering"), frames=8192)
    words = refused(
        capsys, "--run", "mine", "--init-from", "source", "--total-frames", "16384"
    )
    assert words == (
        "jaxfactory: the run mine has already been trained and cannot start from "
        f"{Path('source').resolve()}; leave out --init-from to resume it, or give "
        "--run a new directory\n"
    )


def test_an_agent_of_sample_factorys(tmp_path):
    made = convert.convert(GRU, None, tmp_path / "imported")
    config = parsed("--init-from", "imported", "--gamma", "0.99")
    assert config.network.conv_channels == (4, 8)
    assert (config.env.width, config.env.height) == (36, 28)
    assert config.ppo.normalize_obs
    taken, said = begun("imported", config)
    assert {"core", "policy", "value", "obs.image"} <= roots(taken)
    assert f"({made.frames:,} frames)" in said
    # Its gamma is 0.97.
    assert said.endswith("; newly initialized: return statistics (rewards differ)")
    ppo = dataclasses.replace(config.ppo, gamma=0.97)
    _, said = begun("imported", dataclasses.replace(config, ppo=ppo))
    assert said.endswith("return statistics")


@pytest.fixture
def cartpole() -> dict[str, np.ndarray]:
    return trained(Path("source"), CARTPOLE)


# So small a step that parameters stay as they are.
STILL = ("--learning-rate", "1e-30", "--num-envs", "4", "--num-steps", "8",
         "--num-minibatches", "2")  # fmt: skip


def latest(run_dir: str) -> dict[str, np.ndarray]:
    return checkpoint_files.read_arrays(load_for_evaluation(Path(run_dir)).path)[1]


def test_the_command_begins_and_goes_on(cartpole, capsys):
    train = ["train", "--run", "new", "--total-frames"]
    assert main.main([*train, "64", "--init-from", "source", *STILL]) == 0
    out = capsys.readouterr().out
    assert (
        "\ncopied from source (4,096 frames): encoder, policy head, value head" in out
    )
    begun = latest("new")
    for name, array in cartpole.items():
        if name.startswith("params."):
            np.testing.assert_array_equal(begun[name], array)
    # Two rollouts of 4 x 8: frames, updates and Adam's count are the new run's.
    assert (begun["frames"], begun["step"]) == (64, 2)
    assert runs.load_config(Path("new")).init_from == str(Path("source").resolve())
    # The source may change or go: the run has its own checkpoint now.
    shutil.rmtree("source")
    config = parsed("--run", "new", "--total-frames", "96", "--learning-rate", "0.1")
    jaxfactory.train(dataclasses.replace(config, init_from=None), "new")
    after = latest("new")
    assert (after["frames"], after["step"]) == (96, 3)
    assert (after["params.value.kernel"] != begun["params.value.kernel"]).any()
    recorded = runs.load_config(Path("new")).init_from
    assert recorded == str(Path("source").resolve())
    # Said again, it is no other.
    assert init_from.recorded(config, Path("new")) == config
    with pytest.raises(UserError, match=r"the run new .* cannot start from new; leave"):
        jaxfactory.train(config, "new", init_from="new")


def test_a_run_that_was_killed_before_its_first_checkpoint(cartpole):
    runs.open_run(Path("new"), parsed("--init-from", "source"))
    config = parsed("--run", "new")
    assert config.init_from == str(Path("source").resolve())
    start = transfer.prepare(config, Path("new"), fresh(config)[0])
    kernel = "params.policy.kernel"
    np.testing.assert_array_equal(start.arrays[kernel], cartpole[kernel])


def test_from_python(cartpole):
    network = dataclasses.replace(CARTPOLE.network, measurements_sizes=(4,))
    config = dataclasses.replace(CARTPOLE, network=network)
    with pytest.raises(UserError, match="no weights of source fit"):
        jaxfactory.train(config, "new", init_from="source")
    fitting = init_from.with_settings_of("source", config)
    assert fitting == CARTPOLE
    assert roots(begun("source", fitting)[0]) == {
        "encoder.measurements", "policy", "value", "obs.measurements", "returns",
    }  # fmt: skip


def test_without_it_nothing_is_looked_up(cartpole, monkeypatch):
    monkeypatch.setattr(init_from, "find", None)
    network, state = fresh(CARTPOLE)
    assert transfer.prepare(CARTPOLE, Path("new"), network) is None
    assert transfer.begin(state, None) is state


def test_a_sweep(cartpole):
    Path("my.toml").write_text(
        "[sweep]\ncommand = { num_envs = 8, init_from = 'source' }\nseeds = 2\n"
    )
    sweep = sweep_file.read(Path("my.toml"))
    assert [job.name for job in sweep.jobs] == ["seed=0", "seed=1"]
    for job in sweep.jobs:
        assert "--init-from=source" in job.args
        assert job.config.init_from == str(Path("source").resolve())
        assert job.config.network == CARTPOLE.network
