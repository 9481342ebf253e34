"""Stable-Baselines3's PPO trains on the pool, where it is installed."""

import importlib.util

import numpy as np
import pytest


INSTALLED = importlib.util.find_spec("stable_baselines3") is not None
pytestmark = [
    pytest.mark.vizdoom,
    pytest.mark.slow,
    pytest.mark.skipif(not INSTALLED, reason="Stable-Baselines3 is not installed"),
]

if INSTALLED:
    from stable_baselines3 import PPO
    from stable_baselines3.common.evaluation import evaluate_policy

    from jaxfactory.stable_baselines import StableBaselinesEnv


@pytest.fixture
def envs():
    # Episodes of 40 tics, 10 decisions: basic's living reward is -1 a tic.
    made = StableBaselinesEnv("basic", num_envs=4, timeout=40, render_mode="rgb_array")
    yield made
    made.close()


def test_episodes_are_told_as_its_own_environments_tell_them(envs):
    envs.seed(3)
    assert envs.reset().shape == (4, *envs.observation_space.shape)
    assert all("game_variables" in info for info in envs.reset_infos)
    totals, finished = np.zeros(4), []
    for _ in range(25):
        # The last choice attacks; the first does nothing.
        obs, rewards, ended, infos = envs.step(np.zeros(4, np.int64))
        assert rewards.dtype == np.float32
        totals += rewards
        for row in np.flatnonzero(ended):
            info = infos[row]
            assert info["TimeLimit.truncated"] is True
            assert info["episode"]["r"] == pytest.approx(totals[row])
            assert info["episode"]["l"] == 10
            assert info["raw_return"] == pytest.approx(-40)
            assert info["terminal_observation"].shape == obs.shape[1:]
            # `obs` is already of the next episode.
            assert (info["terminal_observation"] != obs[row]).any()
            totals[row] = 0
            finished.append(row)
    assert sorted(finished) == [0, 0, 1, 1, 2, 2, 3, 3]


def test_a_seed_gives_the_same_episodes(envs):
    def first() -> np.ndarray:
        envs.seed(11)
        return envs.reset()

    before = first()
    # (A reset of episodes in which nothing has happened yet would open no new ones.)
    envs.step(np.zeros(4, np.int64))
    other = envs.reset()
    np.testing.assert_array_equal(before, first())
    assert (before != other).any()


def test_its_ppo_trains_and_scores(envs):
    model = PPO("CnnPolicy", envs, n_steps=32, batch_size=64, n_epochs=2, seed=1)
    before = [p.detach().clone() for p in model.policy.parameters()]
    model.learn(3 * 4 * 32)
    after = list(model.policy.parameters())
    assert any((a != b).any() for a, b in zip(after, before))
    assert len(model.ep_info_buffer) >= 30
    # Without a warning that returns are not known.
    mean, std = evaluate_policy(model, envs, n_eval_episodes=8)
    assert -0.5 <= mean <= 1
    assert np.isfinite(std)


def test_measurements_train_as_a_dictionary():
    envs = StableBaselinesEnv("battle", num_envs=2, timeout=40)
    try:
        model = PPO("MultiInputPolicy", envs, n_steps=16, batch_size=16, n_epochs=1)
        model.learn(2 * 2 * 16)
        assert model.num_timesteps == 64
    finally:
        envs.close()


def test_what_cannot_be_done_is_refused(envs):
    assert envs.get_attr("render_mode", [0, 2]) == ["rgb_array"] * 2
    with pytest.raises(AttributeError, match="stepped together"):
        envs.set_attr("frame_skip", 2)
    with pytest.raises(AttributeError, match="stepped together"):
        envs.env_method("reset")
    envs.reset()
    assert [image.shape for image in envs.get_images()] == [(72, 128, 3)] * 4
