"""Imported agents against the answers that Sample Factory's own networks gave.

The experiments under data/ are made by scripts/make_sample_factory_checkpoint.py.
"""

import functools
import json
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from experiments import copy, imported, rewrite
from places import EXPERIMENTS

from jaxfactory._util.errors import UserError
from jaxfactory.checkpoints.saved_run import load_for_evaluation
from jaxfactory.cli import main
from jaxfactory.config import runs
from jaxfactory.models import normalization
from jaxfactory.sample_factory import convert, torch_file
from jaxfactory.sample_factory.files import experiment_of, find_checkpoint
from jaxfactory.sample_factory.slots import logit_order
from jaxfactory.scenarios import action_heads
from jaxfactory.scenarios.cfg_file import GameConfig


@pytest.fixture(scope="module")
def agent(tmp_path_factory):
    """Return a function that imports an experiment of data/, once."""
    return functools.cache(lambda name: imported(name, tmp_path_factory.mktemp(name)))


NAMES = (
    "gru", "lstm", "measurements", "health", "deathmatch", "resnet", "separate",
    "layers", "pbt",
)  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_the_same_answers_as_in_pytorch(name, agent):
    _, config, network, state = agent(name)
    step = jax.jit(network.apply)
    answers = np.load(EXPERIMENTS / name / "answers.npz")
    steps, rows = answers["values"].shape
    nothing = jnp.zeros(rows, bool)
    for t in range(steps):
        obs = {"image": jnp.array(answers["obs"][t].transpose(0, 2, 3, 1))}
        if network.spec.observation.measurements:
            obs["measurements"] = jnp.array(answers["measurements"][t])
        inputs = normalization.normalize_obs(obs, state.normalizer.obs)
        # Each step begins with the original's hidden state.
        carry = as_carry(network, answers["rnn_states"][t])
        logits, value, carry = step(state.params, inputs, carry, nothing)
        close(logits, answers["logits"][t])
        close(value, answers["values"][t])
        if config.network.core != "none":
            after = as_carry(network, answers["rnn_states"][t + 1])
            jax.tree.map(close, carry, after)
        if config.ppo.normalize_returns:
            returns = normalization.denormalize(value, state.normalizer.returns)
            close(returns, answers["returns"][t])
    # So that the comparison means something.
    assert answers["logits"].std() > 0.05
    assert answers["values"].std() > 0.05


def close(ours, theirs):
    np.testing.assert_allclose(np.asarray(ours), np.asarray(theirs), rtol=0, atol=1e-4)


def as_carry(network, states):
    """Return the original's hidden states, all in one array, as ours.

    There the actor's come before the critic's, in each those of the layers one after
    another, in each h before c.
    """
    shape = network.config
    parts = {"gru": 1, "lstm": 2, "none": 0}[shape.core]
    if not parts:
        return ()
    towers = 2 if shape.separate_critic else 1
    count = towers * shape.core_layers * parts
    leaves = [jnp.array(part) for part in np.split(states, count, axis=-1)]
    for size in (parts, shape.core_layers, towers):
        if size > 1:
            leaves = list(zip(*[iter(leaves)] * size))
    (carry,) = leaves
    return carry


def test_settings_are_taken_over(agent):
    found, config, _, state = agent("gru")
    assert found.scenario == config.env.scenario == "health_gathering_supreme"
    assert found.frames == state.frames == 123_456
    assert int(state.step) == 7
    assert found.notes == []
    env, network, ppo = config.env, config.network, config.ppo
    # Batches of 64 decisions in rollouts of 16.
    assert (env.num_envs, env.num_groups, ppo.num_steps) == (4, 2, 16)
    assert (env.width, env.height, env.frame_skip) == (36, 28, 4)
    assert (env.screen_width, env.screen_height) == (160, 120)
    assert network.conv_channels == (4, 8)
    assert (network.conv_kernels, network.conv_strides) == ((8, 4), (4, 2))
    assert (network.hidden_size, network.core, network.core_size) == (16, "gru", 16)
    assert (ppo.gamma, ppo.learning_rate) == (0.97, 0.0002)
    assert (ppo.lr_schedule, ppo.num_epochs, ppo.num_minibatches) == ("constant", 1, 1)
    assert ppo.bootstrap_truncated
    assert (ppo.exploration, ppo.ent_coef, ppo.value_clip) == (
        "symmetric_kl",
        0.001,
        0.2,
    )


def test_settings_of_the_others(agent):
    _, config, _, state = agent("lstm")
    assert config.env.scenario == "my_way_home"
    assert (config.network.core, config.network.nonlinearity) == ("lstm", "relu")
    assert not config.ppo.normalize_obs
    assert not config.ppo.normalize_returns
    assert config.ppo.exploration == "entropy"
    assert not config.ppo.bootstrap_truncated
    found, config, _, state = agent("measurements")
    assert config.network.core == "none"
    assert config.network.measurements_sizes == (10, 12)
    assert config.network.decoder_sizes == (12, 8)
    assert config.ppo.normalize_obs
    assert float(state.normalizer.obs["measurements"].count) == 201
    # Returns are of scaled rewards, and so is what is trained on from here on.
    assert (config.env.reward_scale, config.env.reward_clip) == (0.5, 1000.0)
    assert found.notes == []


def test_choices_are_put_into_our_order():
    file = ("MOVE_FORWARD", "MOVE_BACKWARD", "ATTACK", "TURN_LEFT_RIGHT_DELTA")
    game = GameConfig(path=Path("x.cfg"), buttons=list(file))
    # Theirs turns by -2, -1, 0, 1, 2 degrees a tic: the same here where values rise.
    ours = action_heads.grouped(game, action_heads.Delta(5, 2.0))
    assert logit_order(ours).tolist() == [0, 1, 2, 3, 4, *range(5, 10)]
    # A head that begins with "nothing", which is in the middle there.
    ours = (*ours[:2], (ours[2][2], ours[2][0], ours[2][1], *ours[2][3:]))
    assert ours[2][0] == ()
    assert logit_order(ours).tolist() == [0, 1, 2, 3, 4, 7, 5, 6, 8, 9]


def test_adam_goes_on_where_it_was(agent):
    _, _, _, state = agent("gru")
    kept = torch_file.load(find_checkpoint(EXPERIMENTS / "gru").file)
    names = [n for n in kept["model"] if not n.endswith(("mean", "var", "count"))]
    at = names.index("encoder.basic_encoder.enc.conv_head.0.weight")
    moments = kept["optimizer"]["state"][at]
    get = optax.tree_utils.tree_get
    assert int(get(state.opt_state, "ScaleByAdamState").count) == 1
    for ours, theirs in (("mu", "exp_avg"), ("nu", "exp_avg_sq")):
        found = get(state.opt_state, ours)["encoder"]["conv_0"]["kernel"]
        expected = moments[theirs].transpose(2, 3, 1, 0)
        np.testing.assert_array_equal(np.asarray(found), expected)
    after_one_step(state)


def after_one_step(state):
    """Check that the first moments are 0.1 g and the second 0.001 g^2."""
    get = optax.tree_utils.tree_get
    mu, nu = get(state.opt_state, "mu"), get(state.opt_state, "nu")
    jax.tree.map(
        lambda m, v: np.testing.assert_allclose(v, 0.1 * m**2, 1e-4, 1e-12), mu, nu
    )
    # All have a gradient but the weights that read the hidden states, which were 0.
    for path, leaf in jax.tree_util.tree_flatten_with_path(mu)[0]:
        assert np.asarray(leaf).any() == (path[-1].key != "recurrent_kernel"), path


def test_without_an_optimizer_adam_begins_anew(tmp_path):
    source = copy("gru", tmp_path, lr_schedule="triangular")
    rewrite(source, lambda model: None)
    found, _, _, state = imported("gru", tmp_path, source)
    assert found.notes == [
        "lr_schedule triangular has no counterpart: training resumes with constant",
        "Adam's moments were not imported: they start at zero",
    ]
    assert (
        int(optax.tree_utils.tree_get(state.opt_state, "ScaleByAdamState").count) == 0
    )
    assert found.frames == 400


def test_schedules_of_the_learning_rate_are_imported(tmp_path):
    adaptive = {
        "lr_schedule": "kl_adaptive_epoch", "lr_schedule_kl_threshold": 0.01,
        "lr_adaptive_min": 1e-5,
    }  # fmt: skip
    found, config, *_ = imported("gru", tmp_path, copy("gru", tmp_path, **adaptive))
    assert found.notes == []
    assert (config.ppo.kl_target, config.ppo.kl_lr_range) == (0.01, (1e-5, 1e-2))
    # The rate that the checkpoint has reached.
    assert config.ppo.learning_rate == 0.0002


def test_a_linear_decay_is_imported(tmp_path):
    source = copy("gru", tmp_path, lr_schedule="linear_decay", learning_rate=0.0004)
    found, config, *_ = imported("gru", tmp_path, source)
    assert found.notes == []
    assert config.ppo.schedule == ("learning_rate=linear:0",)
    assert config.ppo.learning_rate == 0.0004


def test_which_file_is_taken(tmp_path):
    source = copy("gru", tmp_path)
    folder = source / "checkpoint_p0"

    def found(path):
        return find_checkpoint(path).file

    first = found(source)
    assert first.name == "checkpoint_000000007_123456.pth"
    newer = shutil.copy(first, folder / "checkpoint_000000010_99999999.pth")
    assert found(source) == newer
    best = shutil.copy(first, folder / "best_000000005_100000_reward_9.871.pth")
    assert found(source) == found(folder) == best
    # Of several the one with the highest reward, not the one with the last name.
    for update, reward in ((6, "-9.900"), (8, "9.9"), (9, "9.88")):
        name = f"best_00000000{update}_100000_z_score_{reward}.pth"
        shutil.copy(first, folder / name)
    shutil.copy(first, folder / "best_of_all.pth")
    assert found(source).name == "best_000000008_100000_z_score_9.9.pth"
    assert found(first) == first
    # A milestone lies one folder deeper; its settings are found above it.
    (folder / "milestones").mkdir()
    deep = shutil.copy(first, folder / "milestones" / first.name)
    assert found(deep) == deep
    assert experiment_of(deep) == source
    assert find_checkpoint(deep, 0).policy == 0


def test_the_best_of_several_policies_is_taken(tmp_path, agent):
    found, config, _, _ = agent("pbt")
    assert found.file.name == "best_000000007_123456_reward_12.500.pth"
    assert found.file.parent.name == "checkpoint_p1"
    assert found.notes[0] == (
        "policy 1 of 0, 1, 2 was imported, whose best reward, 12.5, is the highest; "
        "--policy chooses another one"
    )
    # What training on a population had changed for this one.
    assert config.ppo.clip_eps == 0.125
    assert config.ppo.max_grad_norm == 5.0
    third = convert.convert(EXPERIMENTS / "pbt", None, tmp_path / "third", policy=2)
    assert third.file.parent.name == "checkpoint_p2"
    assert third.notes == []
    assert load_for_evaluation(third.run).config.ppo.value_clip == 0.2 * 1.5
    # A policy's folder says which one it is, and so does a file in it.
    for path in (third.file.parent, third.file):
        assert find_checkpoint(path).file == find_checkpoint(path, 2).file == third.file
        with pytest.raises(UserError, match="polic"):
            find_checkpoint(path, 1)
    with pytest.raises(UserError, match=r"no policy 3; it has 0, 1, 2"):
        find_checkpoint(EXPERIMENTS / "pbt", 3)
    # Without a best one the first is taken.
    source = copy("pbt", tmp_path)
    for file in source.glob("checkpoint_p*/best_*.pth"):
        file.rename(file.with_name("checkpoint_000000003_100.pth"))
    assert find_checkpoint(source).policy == 0
    assert "because no file name has" in find_checkpoint(source).note


def test_the_layouts_of_the_courses_agents(agent):
    found, config, _, _ = agent("health")
    assert found.file.name == "best_000000007_123456_reward_6.500.pth"
    assert found.notes == []
    assert (config.network.core, config.env.measurements) == ("lstm", True)
    found, config, network, state = agent("deathmatch")
    assert found.scenario == "deathmatch_bots"
    assert found.file.name == "best_000000007_123456_reward_31.250.pth"
    assert found.notes == [
        "this agent reads the image only, without the 23 measurements of "
        "deathmatch_bots (--no-measurements): its network has no layers for them"
    ]
    assert not config.env.measurements
    assert config.env.frame_skip == 2
    assert network.spec.observation.measurements == 0
    assert state.normalizer.obs.keys() == {"image"}
    assert config.network.decoder_sizes == (12,)


def test_without_statistics_of_measurements_either(tmp_path):
    source = copy("deathmatch", tmp_path)
    root = "obs_normalizer.running_mean_std.running_mean_std.measurements"

    def forget(model):
        for name in ("running_mean", "running_var", "count"):
            del model[f"{root}.{name}"]

    rewrite(source, forget)
    found, config, _, state = imported("deathmatch", tmp_path, source)
    assert "reads the image only" in found.notes[0]
    assert not config.env.measurements
    assert state.normalizer.obs.keys() == {"image"}


def test_networks_of_the_others(agent):
    _, config, _, _ = agent("resnet")
    assert config.network.encoder == "resnet_impala"
    assert config.network.conv_channels == (4, 6, 8)
    assert (config.network.hidden_size, config.network.dense_sizes) == (14, (10,))
    _, config, network, _ = agent("separate")
    for name in ("resnet", "separate", "layers"):
        found, _, _, state = agent(name)
        assert found.notes == []
        after_one_step(state)
    assert config.network.separate_critic
    assert (config.network.core, config.network.core_layers) == ("gru", 2)
    assert network.spec.observation.measurements == 23
    _, config, _, _ = agent("layers")
    assert not config.network.separate_critic
    assert (config.network.core, config.network.core_layers) == ("lstm", 3)
    assert config.network.nonlinearity == "tanh"


def test_is_experiment(tmp_path, agent):
    assert convert.is_experiment(EXPERIMENTS / "gru")
    assert convert.is_experiment(EXPERIMENTS / "gru" / "checkpoint_p0")
    assert not convert.is_experiment(EXPERIMENTS)
    assert not convert.is_experiment(tmp_path / "nowhere")
    assert not convert.is_experiment(agent("gru")[0].run)
    (tmp_path / "empty").mkdir()
    assert not convert.is_experiment(tmp_path / "empty")


@pytest.mark.vizdoom
def test_an_imported_run_is_evaluated_and_trained(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "run"
    args = ["import-sample-factory", str(EXPERIMENTS / "gru"), "--run", str(run)]
    assert main.main(args) == 0
    assert f"evaluate --run {run}" in capsys.readouterr().out
    args = ["evaluate", "--run", str(run), "--episodes", "2", "--num-envs", "2"]
    assert main.main(args) == 0
    result = json.loads((run / "evaluation.json").read_text())
    assert result["frames_trained"] == 123_456
    assert result["episodes"] == 2
    # 4 environments x 16 steps x 4 tics are 256 frames an update.
    args = ["train", "--run", str(run), "--total-frames", str(123_456 + 512)]
    assert main.main(args) == 0
    saved = runs.checkpoint_dirs(run, "latest")
    assert [int(path.name) for path in saved] == [123_456, 123_968]
