"""What trained agents do in Gymnasium's environments: act, are scored and watched."""

import functools
import json
from pathlib import Path

import av
import gymnasium
import gymnasium_tasks
import numpy as np
import pytest
from tiny import tiny_config

import jaxfactory
from jaxfactory._util.errors import UserError
from jaxfactory.cli import main
from jaxfactory.config import runs
from jaxfactory.config.train import WatchConfig
from jaxfactory.training.loop import train


assert gymnasium_tasks

IDS = {
    "vector": "CartPole-v1",
    "number": "Pendulum-v1",
    "image": "test/Corner-v0",
    "mixed": "test/Everything-v0",
}


def small(name: str, **changes) -> jaxfactory.Config:
    return tiny_config(
        f"gymnasium:{name}", updates=4, env={"frame_skip": 1},
        network={
            "measurements_sizes": (8,), "conv_channels": (4,), "conv_kernels": (4,),
            "conv_strides": (2,),
        },
        **changes,
    )  # fmt: skip


@pytest.fixture(scope="module")
def agent(tmp_path_factory):
    """Return a function that trains an agent, once, and loads it."""

    @functools.cache
    def trained(kind: str) -> jaxfactory.Agent:
        run = tmp_path_factory.mktemp(kind) / "run"
        jaxfactory.train(small(IDS[kind]), run)
        return jaxfactory.load(run, checkpoint="latest")

    return trained


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(
            kind, marks=[] if kind in ("number", "mixed") else pytest.mark.slow
        )
        for kind in IDS
    ],
)
def test_it_acts_in_the_pool_and_in_an_environment_alike(kind, agent):
    one = agent(kind)
    assert one.frames == 128
    config = one.config.env
    env = gymnasium.make(IDS[kind])
    with jaxfactory.make_pool(config, env_seeds=[5, 6, 7, 8]) as pool:
        step, carry = pool.reset(), None
        policy = one.for_env(env, deterministic=True)
        obs, _ = env.reset(seed=5)
        for _ in range(4):
            rows, carry = one.act(
                step.observation, carry, is_first=step.is_first, deterministic=True
            )
            assert rows.shape == (4, pool.spec.action.width)
            action = policy(obs)
            assert env.action_space.contains(action)
            step = pool.step(rows)
            obs, reward, terminated, truncated, _ = env.step(action)
            assert step.reward[0] == pytest.approx(reward, rel=1e-5)
            if terminated or truncated:
                obs, _ = env.reset()
                policy.reset()
    env.close()


def test_numbers_are_in_the_units_of_their_box(agent):
    # Pendulum's torque goes from -2 to 2, the network's number from -1 to 1.
    env = gymnasium.make("Pendulum-v1")
    one = agent("number")
    obs = np.array([1.0, 0.0, 0.5], np.float32)
    rows, _ = one.act(obs[None], deterministic=True)
    action = one.for_env(env, deterministic=True)(obs)
    np.testing.assert_allclose(action, np.clip(2 * rows[0], -2, 2), rtol=1e-6)
    assert action.dtype == np.float32


def test_another_environment_is_refused(agent):
    with pytest.raises(UserError) as caught:
        agent("number").for_env(gymnasium.make("CartPole-v1"))
    assert str(caught.value) == (
        "the environment has 4 numbers as observation and one of 2 as action, but the "
        "agent was trained with 3 numbers as observation and 1 numbers as action; make "
        "the one that agent.config.env names"
    )
    with pytest.raises(UserError, match="use make_pool"):
        agent("number").for_env(gymnasium.make_vec("Pendulum-v1"))


def test_an_environment_that_cannot_be_seen_is_scored_without_a_video(tmp_path, capsys):
    run = tmp_path / "run"
    jaxfactory.train(small("gymnasium_tasks:test/Everything-v0"), run)
    played = ["evaluate", "--run", str(run), "--episodes", "3"]
    assert main.main(played) == 0
    result = json.loads((run / runs.EVALUATION).read_text())
    assert result["episodes"] == 3
    assert 0 <= result["raw_return"]["mean"] <= 3
    assert result["length"]["max"] == 1
    (run / runs.EVALUATION).unlink()
    capsys.readouterr()
    assert main.main([*played, "--render-mp4"]) == 2
    error = capsys.readouterr().err
    assert "test/Everything-v0" in error
    assert "leave out --render-mp4" in error
    assert error.count("\n") == 1
    # It is told before the episodes are played, and nothing is left.
    assert not (run / runs.EVALUATION).exists()
    assert not list(run.glob("*.mp4"))


def test_it_is_scored_in_another_environment_of_the_same_spaces(tmp_path, capsys):
    run = tmp_path / "run"
    jaxfactory.train(small("CartPole-v1"), run)
    played = ["evaluate", "--run", str(run), "--episodes", "2", "--scenario"]
    # Its time limit is 1 instead of 500.
    gymnasium.register(
        "test/Short-v0",
        "gymnasium.envs.classic_control.cartpole:CartPoleEnv",
        max_episode_steps=1,
    )
    try:
        assert main.main([*played, "gymnasium:test/Short-v0"]) == 0
    finally:
        del gymnasium.registry["test/Short-v0"]
    result = json.loads((run / runs.EVALUATION).read_text())
    assert result["scenario"] == "gymnasium:test/Short-v0"
    assert (result["length"]["mean"], result["truncated"]) == (1, 2)
    assert main.main([*played, "basic"]) == 2
    error = capsys.readouterr().err
    assert "trained on gymnasium:CartPole-v1 and cannot be evaluated on basic" in error


class Recorder:
    """A writer that remembers scores and videos."""

    def __init__(self) -> None:
        self.scores: list[dict] = []
        self.gifs: list[bytes] = []

    def begin(self, frames: int) -> None:
        pass

    def write(self, metrics, frames: int) -> None:
        if "evaluation/shaped_return" in metrics:
            self.scores.append(dict(metrics))

    def note(self, text: str) -> None:
        pass

    def write_video(self, mp4: Path, gif: Path, frames: int) -> None:
        self.gifs.append(gif.read_bytes())

    def close(self) -> None:
        pass


def test_it_is_watched_while_it_trains(tmp_path):
    watch = WatchConfig(evaluate_every=10**6, video_every=10**6, evaluate_episodes=2)
    recorder = Recorder()
    run = tmp_path / "run"
    train(small("Pendulum-v1", watch=watch), run, writer=recorder)
    (score,) = recorder.scores
    assert score["evaluation/episodes"] == 2
    assert score["evaluation/length"] == 200
    assert -2000 < score["evaluation/shaped_return"] < -100
    (gif,) = recorder.gifs
    path = tmp_path / "seen.gif"
    path.write_bytes(gif)
    with av.open(str(path)) as video:
        frames = [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]
        # 201 frames at 30 a second: every fourth, at 7.5 a second.
        assert float(video.streams.video[0].average_rate) == pytest.approx(7.5, abs=0.2)
    assert len(frames) == 51
    assert np.abs(frames[0].astype(int) - frames[25]).max() > 100
