"""Doom through Gymnasium: spaces, autoreset, seeds, information, wrappers, trainers."""

import subprocess
import sys
import warnings
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode
from gymnasium.wrappers.vector import DictInfoToList, RecordEpisodeStatistics
from places import ROOT

import jaxfactory
from jaxfactory._util.errors import UserError
from jaxfactory.cli import listing
from jaxfactory.envs.pool import make_pool
from jaxfactory.envs.wrappers import registration
from jaxfactory.envs.wrappers.vector_env import DoomVectorEnv
from jaxfactory.scenarios import scenario_table


pytestmark = pytest.mark.vizdoom

BASIC = "jaxfactory/Basic-v0"
# 20 tics are 5 decisions, and Doom's clock starts where the first one does.
SHORT = {"num_envs": 3, "timeout": 20}


def play(envs, steps: int, seed: int = 0) -> list[tuple]:
    """Step with actions of a fixed seed."""
    envs.action_space.seed(seed)
    return [envs.step(envs.action_space.sample()) for _ in range(steps)]


def test_importing_the_package_registers_every_scenario():
    assert jaxfactory
    for name in scenario_table.names():
        assert registration.env_id(name) in gymnasium.registry
    # Twice is not a warning about names taken before.
    registration.register_scenarios()


def test_names():
    assert registration.env_id("my_way_home_flat") == "jaxfactory/MyWayHomeFlat-v0"
    assert registration.env_id("battle2") == "jaxfactory/Battle2-v0"


def test_every_ready_scenario_has_the_spaces_of_its_pool():
    ready = [row.name for row in listing.table() if row.state == "ready"]
    assert "health_gathering_supreme" in ready
    for name in ready:
        # As many as the agents of the largest match.
        envs = gymnasium.make_vec(registration.env_id(name), num_envs=8)
        heads = envs.unwrapped.pool.spec.action.heads
        single = envs.single_action_space
        if len(heads) == 1:
            assert single == gymnasium.spaces.Discrete(heads[0])
        else:
            assert single == gymnasium.spaces.MultiDiscrete(heads)
        assert envs.action_space.contains(envs.action_space.sample())
        envs.close()


def test_measurements_make_a_dictionary():
    envs = gymnasium.make_vec("jaxfactory/Deathmatch-v0", num_envs=2, timeout=8)
    assert [*envs.single_observation_space] == ["image", "measurements"]
    obs, _ = envs.reset(seed=3)
    assert envs.observation_space.contains(obs)
    count = envs.single_observation_space["measurements"].shape[0]
    assert obs["measurements"].shape == (2, count)
    info = play(envs, 2)[-1][-1]
    assert info["_final_obs"].all()
    final = info["final_obs"][1]
    assert envs.single_observation_space.contains(final)
    step = envs.unwrapped.pool.arrays["final_measurements"][1]
    np.testing.assert_array_equal(final["measurements"], step)
    envs.close()
    env = gymnasium.make("jaxfactory/Deathmatch-v0", timeout=8)
    obs, _ = env.reset(seed=3)
    assert env.observation_space.contains(obs)
    env.close()


def test_spaces_and_metadata():
    with_image = gymnasium.spaces.Box(0, 255, (72, 128, 3), np.uint8)
    envs = gymnasium.make_vec("jaxfactory/HealthGatheringSupreme-v0", num_envs=4)
    assert isinstance(envs.unwrapped, gymnasium.vector.VectorEnv)
    assert envs.single_observation_space == with_image
    assert envs.observation_space == gymnasium.spaces.Box(
        0, 255, (4, 72, 128, 3), np.uint8
    )
    assert envs.action_space == gymnasium.spaces.MultiDiscrete([5] * 4)
    assert envs.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    assert envs.metadata["render_fps"] == 35 / 4
    assert envs.spec.id == "jaxfactory/HealthGatheringSupreme-v0"
    envs.close()


def test_steps_are_the_pools_and_belong_to_the_caller():
    seeds = [7, 8, 9]
    envs = gymnasium.make_vec(BASIC, **SHORT)
    obs, info = envs.reset(seed=7)
    copies = [(obs, obs.copy())]
    with make_pool("basic", num_groups=1, env_seeds=seeds, **SHORT) as pool:
        np.testing.assert_array_equal(obs, pool.reset().obs)
        envs.action_space.seed(3)
        for number in range(1, 31):
            action = envs.action_space.sample()
            obs, reward, terminated, truncated, info = envs.step(action)
            step = pool.step(action[:, None].astype(np.int32))
            assert envs.observation_space.contains(obs)
            assert reward.dtype == np.float64
            np.testing.assert_array_equal(obs, step.obs)
            np.testing.assert_array_equal(reward, step.reward.astype(np.float64))
            np.testing.assert_array_equal(terminated, step.terminated)
            np.testing.assert_array_equal(truncated, step.truncated)
            going = ~(terminated | truncated)
            np.testing.assert_array_equal(info["_raw_reward"], going)
            np.testing.assert_array_equal(
                info["raw_reward"], np.where(going, step.info.raw_reward, 0.0)
            )
            copies.append((obs, obs.copy()))
            if number % 5:
                continue
            # Every fifth decision ends all episodes that shooting had not ended.
            assert truncated.any()
            for row in np.flatnonzero(~going):
                np.testing.assert_array_equal(
                    info["final_obs"][row], step.info.final_obs[row]
                )
                assert info["final_obs"][row].base is None
    for kept, copy in copies:
        np.testing.assert_array_equal(kept, copy)
    envs.close()


def test_information_at_an_episodes_end():
    envs = gymnasium.make_vec("jaxfactory/MyWayHome-v0", num_envs=2, timeout=20)
    envs.reset(seed=0)
    steps = play(envs, 5)
    for _, _, terminated, truncated, info in steps[:4]:
        assert not (terminated | truncated).any()
        assert {*info} == {
            "raw_reward", "_raw_reward", "game_variables", "_game_variables"
        }  # fmt: skip
    obs, _, _, truncated, info = steps[4]
    assert truncated.all()
    assert info["_final_obs"].all()
    assert not info["_raw_reward"].any()
    assert (info["final_obs"][0] != obs[0]).any()
    final = info["final_info"]
    assert final["tics"].tolist() == [20, 20]
    # my_way_home pays -0.0001 a tic.
    np.testing.assert_allclose(final["raw_return"], [-0.002] * 2, rtol=1e-5)
    np.testing.assert_allclose(final["raw_reward"], [-0.0004] * 2, rtol=1e-5)
    assert final["episode"]["l"].tolist() == [5, 5]
    returns = sum(step[1] for step in steps)
    np.testing.assert_allclose(final["episode"]["r"], returns, rtol=1e-5)
    assert (final["episode"]["t"] > 0).all()
    # What gymnasium's own vector environments give has these very masks.
    assert final["_episode"].all()
    assert final["episode"]["_r"].all()
    envs.close()


def test_the_layout_is_that_of_gymnasiums_own_vector_environments():
    options = {"num_envs": 2, "timeout": 12}
    ours = gymnasium.make_vec(BASIC, **options)
    theirs = gymnasium.make_vec(
        BASIC, vectorization_mode="sync",
        vector_kwargs={"autoreset_mode": AutoresetMode.SAME_STEP}, **options,
    )  # fmt: skip
    envs = (ours, theirs)
    first, second = (env.reset(seed=[5, 11])[0] for env in envs)
    np.testing.assert_array_equal(first, second)
    ours.action_space.seed(1)
    for _ in range(12):
        action = ours.action_space.sample()
        one, other = (env.step(action) for env in envs)
        for a, b in zip(one[:4], other[:4], strict=True):
            np.testing.assert_array_equal(a, b)
            assert a.dtype == b.dtype
        assert one[4].get("_final_obs", np.zeros(2)).tolist() == (
            other[4].get("_final_obs", np.zeros(2)).tolist()
        )
        if "final_obs" not in one[4]:
            continue
        for row in np.flatnonzero(one[4]["_final_obs"]):
            np.testing.assert_array_equal(
                one[4]["final_obs"][row], other[4]["final_obs"][row]
            )
        keys = {*one[4]["final_info"]} - {"episode", "_episode"}
        assert keys == {*other[4]["final_info"]}
    for env in envs:
        env.close()


def test_views_instead_of_copies():
    envs = gymnasium.make_vec(BASIC, num_envs=2, copy=False, num_steps=3, num_slabs=2)
    obs, _ = envs.reset(seed=0)
    pool = envs.unwrapped.pool
    assert np.shares_memory(obs, pool.arrays["obs"])
    held = [(obs, obs.copy()) for obs, *_ in play(envs, 7)]
    # As documented: good for num_slabs * num_steps = 6 further steps.
    for view, copy in held[1:]:
        assert np.shares_memory(view, pool.arrays["obs"])
        np.testing.assert_array_equal(view, copy)
    envs.close()


def test_a_seed_gives_its_episodes_however_often():
    def played(seed):
        obs, _ = envs.reset(seed=seed)
        return [obs, *(step[0] for step in play(envs, 12))]

    envs = gymnasium.make_vec(BASIC, **SHORT)
    first = played(5)
    other = played([1, None, 7])
    again = played([5, 6, 7])
    for a, b, c in zip(first, other, again, strict=True):
        np.testing.assert_array_equal(a, c)
        np.testing.assert_array_equal(a[2], b[2])
    assert any((a[0] != b[0]).any() for a, b in zip(first, other))
    # Without a seed new episodes follow; at first from random seeds.
    assert any((a != b).any() for a, b in zip(first, played(None)))
    envs.close()
    envs = gymnasium.make_vec(BASIC, **SHORT)
    assert any((a != b).any() for a, b in zip(first, played(None)))
    envs.close()


def test_gymnasiums_wrappers():
    envs = gymnasium.make_vec(BASIC, **SHORT)
    envs = DictInfoToList(RecordEpisodeStatistics(envs))
    envs.reset(seed=0)
    total, episodes = np.zeros(3), 0
    for _, reward, terminated, truncated, infos in play(envs, 20):
        total += reward
        for row in np.flatnonzero(terminated | truncated):
            theirs = infos[row]["episode"]
            ours = infos[row]["final_info"]["episode"]
            np.testing.assert_allclose(theirs["r"], total[row], rtol=1e-5)
            np.testing.assert_allclose(ours["r"], theirs["r"], rtol=1e-5)
            assert ours["l"] == theirs["l"]
            total[row] = 0
            episodes += 1
    assert episodes >= 12
    envs.close()


def test_multi_discrete_and_dtypes_of_actions():
    envs = gymnasium.make_vec("jaxfactory/DeadlyCorridor-v0", num_envs=2)
    assert envs.single_action_space == gymnasium.spaces.MultiDiscrete([3, 3, 3, 2])
    envs.reset(seed=0)
    play(envs, 3)
    envs.step([[0, 1, 2, 1], [2, 2, 2, 1]])
    with pytest.raises(ValueError, match="head 3, which has 2"):
        envs.step(np.full((2, 4), 2))
    with pytest.raises(ValueError, match="dtype float"):
        envs.step(np.zeros((2, 4)))
    envs.close()


def test_rendering():
    envs = gymnasium.make_vec(BASIC, num_envs=2, render_mode="rgb_array", depth=True)
    assert envs.single_observation_space.shape == (72, 128, 4)
    with pytest.raises(gymnasium.error.ResetNeeded):
        envs.render()
    obs, _ = envs.reset(seed=0)
    frames = envs.render()
    assert len(frames) == 2
    np.testing.assert_array_equal(np.stack(frames), obs[..., :3])
    envs.close()
    grey = gymnasium.make(BASIC, render_mode="rgb_array", grayscale=True)
    obs, _ = grey.reset(seed=0)
    np.testing.assert_array_equal(grey.render(), np.repeat(obs, 3, axis=-1))
    grey.close()


def test_close_ends_the_engines_and_twice_is_fine():
    envs = gymnasium.make_vec(BASIC, num_envs=2)
    envs.reset(seed=0)
    pids = envs.unwrapped.pool.engine_pids
    assert all(Path(f"/proc/{pid}").exists() for pid in pids)
    envs.close()
    envs.close()
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


def test_the_single_environment_passes_gymnasiums_checker():
    env = gymnasium.make(BASIC, timeout=40)
    with warnings.catch_warnings():
        # It would like a space of a smaller range and a render mode of its own choice.
        warnings.simplefilter("ignore", UserWarning)
        check_env(env.unwrapped, skip_render_check=True)
    env.close()


def test_the_single_environment_ends_with_the_last_observation():
    with make_pool(
        "basic", num_envs=1, num_groups=1, timeout=20, env_seeds=[4]
    ) as pool:
        env = gymnasium.make(BASIC, timeout=20)
        obs, _ = env.reset(seed=4)
        np.testing.assert_array_equal(obs, pool.reset().obs[0])
        for number in range(1, 11):
            obs, reward, terminated, truncated, info = env.step(1)
            step = pool.step(np.ones((1, 1), np.int32))
            assert (terminated, truncated) == (False, number % 5 == 0)
            assert reward == step.reward[0]
            assert info["raw_reward"] == step.info.raw_reward[0]
            expected = step.info.final_obs if truncated else step.obs
            np.testing.assert_array_equal(obs, expected[0])
            if truncated:
                assert info["tics"] == 20
                obs, _ = env.reset()
                np.testing.assert_array_equal(obs, step.obs[0])
        env.close()


def test_a_cfg_of_ones_own():
    path = str(scenario_table.CFG_FOLDER / "basic.cfg")
    envs = gymnasium.make_vec("jaxfactory/Doom-v0", num_envs=1, scenario=path)
    envs.reset(seed=0)
    # Grouped, as a .cfg file of one's own is: nothing, left, right; nothing, attack.
    assert envs.single_action_space == gymnasium.spaces.MultiDiscrete([3, 2])
    envs.close()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"render_mode": "human"}, "render_mode 'human'"),
        ({"frameskip": 4}, "no option 'frameskip'; did you mean 'frame_skip'?"),
        ({"num_envs": 0}, "--num-envs 0"),
        ({"width": 0}, "--width 0"),
        ({"scenario": "basics"}, "did you mean basic"),
    ],
    ids=str,
)
def test_options_that_cannot_work(options, says):
    with pytest.raises(UserError, match=says):
        DoomVectorEnv(**{"scenario": "basic", "num_envs": 2, **options})


def test_resets_that_cannot_work():
    envs = DoomVectorEnv("basic", 2)
    refused = (
        (-1, "seed -1"),
        ([1], "1 env_seeds were given for 2"),
        ([1, 2**32], "4294967296"),
    )
    for seed, says in refused:
        with pytest.raises((UserError, gymnasium.error.Error), match=says):
            envs.reset(seed=seed)
    mask = {"reset_mask": np.array([True, False])}
    with pytest.raises(UserError, match="reset_mask leaves environments out"):
        envs.reset(options=mask)
    envs.close()


def test_importing_stays_cheap_and_works_without_gymnasium(tmp_path):
    (tmp_path / "gymnasium.py").write_text("raise ImportError('not here')\n")
    program = (
        "import sys, jaxfactory\n"
        "assert 'jaxfactory.envs.doom.pool' not in sys.modules\n"
        "assert not {'jax', 'vizdoom', 'torch'} & set(sys.modules)\n"
    )
    root = str(ROOT)
    for path in (root, f"{tmp_path}:{root}"):
        subprocess.run(
            [sys.executable, "-c", program], env={"PYTHONPATH": path}, check=True
        )


def softmax(logits):
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True)


def test_a_trainer_of_numpy_and_gymnasium_alone():
    """Policy gradient with a linear policy: rollouts, returns, updates, episodes."""
    envs = RecordEpisodeStatistics(gymnasium.make_vec(BASIC, num_envs=8, timeout=80))
    rng = np.random.default_rng(0)
    obs, _ = envs.reset(seed=0)
    pixels = obs[0, ::8, ::8].size
    weights = np.zeros((pixels, int(envs.single_action_space.n)))
    lengths = []
    for _ in range(3):
        features, actions, rewards, ends = [], [], [], []
        for _ in range(24):
            x = obs[:, ::8, ::8].reshape(8, -1) / 255.0
            probabilities = softmax(x @ weights)
            action = np.array([rng.choice(4, p=row) for row in probabilities])
            obs, reward, terminated, truncated, info = envs.step(action)
            features.append(x)
            actions.append(action)
            rewards.append(reward)
            ends.append(terminated | truncated)
            if ends[-1].any():
                lengths += info["episode"]["l"][ends[-1]].tolist()
        to_go, returns = np.zeros(8), []
        for reward, ended in zip(reversed(rewards), reversed(ends), strict=True):
            to_go = reward + 0.99 * to_go * ~ended
            returns.append(to_go)
        advantage = np.array(returns[::-1]) - np.mean(returns)
        for x, action, value in zip(features, actions, advantage, strict=True):
            error = np.eye(4)[action] - softmax(x @ weights)
            weights += 1e-3 * x.T @ (error * value[:, None])
    assert np.isfinite(weights).all()
    assert np.abs(weights).max() > 0
    # 80 tics are 20 decisions; 72 steps of 8 games hold at least 3 episodes of each.
    assert len(lengths) >= 24
    assert max(lengths) == 20
    envs.close()
