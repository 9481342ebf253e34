"""PPO on Gymnasium's environments: every kind of action, the command line, scores."""

import dataclasses
import json

import av
import gymnasium_tasks
import jax
import numpy as np
import pytest

from jaxfactory._util.errors import UserError
from jaxfactory.cli import main
from jaxfactory.config import runs
from jaxfactory.config.presets import PRESETS
from jaxfactory.config.train import Config, EnvConfig, NetworkConfig, PPOConfig
from jaxfactory.envs.pool import make_pool
from jaxfactory.models.actor_critic import ActorCritic
from jaxfactory.ppo.learner import init_train_state, make_update
from jaxfactory.rollout.collector import RolloutCollector
from jaxfactory.rollout.sampler import SyncSampler
from jaxfactory.training import options as train_options


assert gymnasium_tasks

SMALL = NetworkConfig(
    core="none", measurements_sizes=(32, 32), hidden_size=32,
    conv_channels=(8,), conv_kernels=(4,), conv_strides=(2,),
)  # fmt: skip
PPO = PPOConfig(
    num_steps=8, num_minibatches=2, num_epochs=4, learning_rate=1e-2, gamma=0.9,
    clip_eps=0.2, ent_coef=0.0, lr_schedule="constant",
)  # fmt: skip


def learn(task: str, iterations: int, **changes) -> float:
    """Return the mean return of the last rollouts."""
    config = Config(
        env=EnvConfig(
            scenario=f"gymnasium:test/{task}-v0",
            num_envs=16, num_groups=1, frame_skip=1,
        ),
        network=SMALL,
        ppo=dataclasses.replace(PPO, **changes),
    )  # fmt: skip
    with make_pool(config.env, seed=1, num_steps=config.ppo.num_steps) as pool:
        network = ActorCritic(pool.spec, config.network)
        state = init_train_state(network, config.ppo, jax.random.key(0))
        update = make_update(network, config.ppo)
        last = []
        collector = RolloutCollector(
            pool, network, num_steps=config.ppo.num_steps, seed=config.seed
        )
        with SyncSampler(collector) as sampler:
            for iteration in range(iterations):
                state, _ = update(state, sampler.collect(state))
                jax.block_until_ready(state.params)
                if iteration >= iterations - 10:
                    last += [episode.shaped_return for episode in sampler.episodes]
    return float(np.mean(last))


@pytest.mark.slow
def test_a_number_is_learned():
    # At most 1; always saying 1 is worth 0 on average, 1 - E|2 x|.
    assert learn("Aim", 150) > 0.7


@pytest.mark.slow
@pytest.mark.learning
def test_a_choice_a_number_and_switches_are_learned_together():
    # At most 3; by chance about 1/3 + 1/3 + 1/2.
    assert learn("Everything", 120) > 2.3


@pytest.mark.slow
def test_an_image_and_two_heads_are_learned():
    # At most 1, by chance 1/2. With the step size of the others it stays at 0.87 on
    # some CPUs, whose rounding is another.
    assert learn("Corner", 80, learning_rate=3e-3) > 0.9


def test_a_spread_is_a_parameter_of_its_own():
    with make_pool("gymnasium:test/Everything-v0", num_envs=2) as pool:
        network = ActorCritic(pool.spec, SMALL)
    params = network.init(jax.random.key(0))
    assert {*params} == {"encoder", "log_std", "mean", "policy", "value"}
    assert params["log_std"].shape == (1,)
    # 3 choices and twice 2 switches.
    assert params["policy"]["kernel"].shape == (32, 7)
    assert {*params["encoder"]} == {"measurements_0", "measurements_1"}
    assert {*params["value"]} == {"kernel", "bias"}


@pytest.fixture
def in_an_empty_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_the_flag_and_its_defaults(tmp_path):
    options = train_options.parse_train(
        ["--env", "gymnasium:CartPole-v1", "--num-envs", "8"]
    )
    preset = PRESETS["gymnasium"]
    env = dataclasses.replace(preset.env, num_envs=8)
    assert train_options.as_config(options) == dataclasses.replace(preset, env=env)
    assert options.env.frame_skip == 1
    options = train_options.parse_train(
        ["--scenario=gymnasium:ALE/Pong-v5", "--core", "gru"]
    )
    assert options.env.scenario == "gymnasium:ALE/Pong-v5"
    made = runs.new_run_dir(options.env.scenario, tmp_path)
    assert made.parent.name == "Pong-v5"
    made = runs.new_run_dir("gymnasium:my.tasks:A-v0", tmp_path)
    assert made.parent.name == "A-v0"


@pytest.mark.parametrize(
    ("env", "says"),
    [
        ("gymnasium:CartPol-v1", "no environment 'CartPol-v1'"),
        ("gymnasium:Humanoid-v5", "pip install"),
    ],
)
@pytest.mark.usefixtures("in_an_empty_directory")
def test_mistakes_are_sentences(env, says, capsys):
    assert main.main(["train", "--env", env]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1


@pytest.mark.usefixtures("in_an_empty_directory")
def test_train_resume_evaluate_and_watch(tmp_path, capsys):
    flags = ["--num-steps", "16", "--measurements-sizes", "16", "--run", "run"]
    command = ["train", "--env", "gymnasium:Pendulum-v1", *flags]
    assert main.main([*command, "--total-frames", "512"]) == 0
    assert main.main(["train", "--run", "run", "--total-frames", "768"]) == 0
    assert runs.checkpoint_dirs(tmp_path / "run", "latest")[-1].name == "000000000768"
    played = ["--episodes", "2", "--checkpoint", "latest", "--render-mp4"]
    assert main.main(["evaluate", "--run", "run", *played]) == 0
    result = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    assert result["scenario"] == "gymnasium:Pendulum-v1"
    assert result["raw_return"] == result["shaped_return"]
    assert result["length"]["mean"] == 200
    assert result["truncated"] == 2
    # 201 frames at Pendulum's 30 a second.
    assert "6.7 s" in capsys.readouterr().out
    with av.open(str(tmp_path / "run" / "evaluation.mp4")) as video:
        frames = list(video.decode(video=0))
    assert len(frames) == 201
    assert (frames[0].width, frames[0].height) == (500, 500)


def test_a_run_of_another_environment_is_not_resumed(tmp_path):
    config = PRESETS["gymnasium"]
    runs.open_run(tmp_path / "run", config)
    env = dataclasses.replace(config.env, scenario="gymnasium:Acrobot-v1")
    with pytest.raises(UserError, match="was trained with --scenario"):
        runs.open_run(tmp_path / "run", dataclasses.replace(config, env=env))


def score(flags: list[str]) -> float:
    """Train with the preset, return the mean return of fresh episodes."""
    assert main.main(["train", "--run", "run", *flags]) == 0
    assert main.main(["evaluate", "--run", "run", "--checkpoint", "latest"]) == 0
    with open("run/evaluation.json") as file:
        return json.load(file)["raw_return"]["mean"]


@pytest.mark.learning
@pytest.mark.parametrize("seed", ["0", "1"])
@pytest.mark.usefixtures("in_an_empty_directory")
def test_cartpole(seed):
    # At most 500.
    assert score(["--env", "gymnasium:CartPole-v1", "--seed", seed]) >= 400


@pytest.mark.learning
@pytest.mark.usefixtures("in_an_empty_directory")
def test_pendulum():
    # Random actions get about -1,200, good ones -150 to -200.
    flags = ["--gamma", "0.9", "--learning-rate", "3e-3"]
    assert score(["--env", "gymnasium:Pendulum-v1", *flags]) > -400
