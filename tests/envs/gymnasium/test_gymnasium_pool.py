"""Gymnasium's environments behind the pool's face: slabs, ends, seeds, mistakes."""

import gymnasium
import gymnasium_tasks
import numpy as np
import pytest
from gymnasium_tasks import COUNTER

from jaxfactory._util.errors import UserError
from jaxfactory.config.env import EnvConfig
from jaxfactory.envs.gymnasium.pool import GymnasiumPool, env_seeds_of
from jaxfactory.envs.gymnasium.registry import find
from jaxfactory.envs.gymnasium.replay import replay
from jaxfactory.envs.pool import make_pool


assert gymnasium_tasks


def some_actions(pool, steps: int, seed: int = 0) -> np.ndarray:
    actions = pool.spec.action
    rng = np.random.default_rng(seed)
    shape = (steps, pool.num_envs)
    indices = rng.integers(0, actions.heads, (*shape, len(actions.heads)))
    numbers = rng.normal(size=(*shape, actions.continuous))
    return np.concatenate([indices, numbers], -1).astype(actions.dtype)


def copied(step):
    *arrays, info = step
    return [array.copy() for array in (*arrays, *info)]


def rollout(pool, steps: int) -> list[list[np.ndarray]]:
    return [copied(pool.reset())] + [
        copied(pool.step(actions)) for actions in some_actions(pool, steps)
    ]


def assert_same(first, second):
    for one, other in zip(first, second, strict=True):
        for a, b in zip(one, other, strict=True):
            np.testing.assert_array_equal(a, b)


def test_an_episodes_end():
    with make_pool(COUNTER, num_envs=2, num_steps=4) as pool:
        assert isinstance(pool, GymnasiumPool)
        assert pool.frame_skip == 1
        step = pool.reset()
        numbers = step.measurements[:, 0].copy()
        assert step.is_first.all()
        assert {*step.observation} == {"measurements"}
        for time in (1, 2, 3):
            step = pool.step(np.array([[0], [1]], np.int32))
            assert step.reward.tolist() == [time, time + 10]
            assert step.truncated.all() == (time == 3)
            assert not step.terminated.any()
        assert step.is_first.all()
        # The last observation of one episode, and the first of the next.
        np.testing.assert_array_equal(
            step.info.final_measurements, np.stack([numbers, [3, 3]], -1)
        )
        assert step.measurements[:, 1].tolist() == [0, 0]
        assert (step.measurements[:, 0] != numbers).any()
        # 1 + 2 + 3, and 10 more for each action of 1.
        assert step.info.episode_shaped_return.tolist() == [6, 36]
        assert step.info.episode_length.tolist() == [3, 3]
        step = pool.step(np.zeros((2, 1), np.int32))
        assert step.info.episode_shaped_return.tolist() == [1, 1]
        assert not step.is_first.any()


def test_slabs():
    with make_pool(COUNTER, num_envs=2, num_steps=2, num_slabs=2) as pool:
        pool.reset()
        held = []
        for number, actions in enumerate(some_actions(pool, 7)):
            step = pool.step(actions)
            slab, slot = number // 2 % 2, number % 2 + 1
            assert np.shares_memory(step.measurements, pool.slab(slab)["measurements"])
            held.append((step.measurements, step.measurements.copy()))
            np.testing.assert_array_equal(
                pool.slab(slab)["measurements"][slot], step.measurements
            )
            if slot == 1 and number:
                before, after = pool.slab(1 - slab), pool.slab(slab)
                for name in ("measurements", "is_first"):
                    np.testing.assert_array_equal(after[name][0], before[name][2])
            for view, copy in held[max(0, number - 3) :]:
                np.testing.assert_array_equal(view, copy)


@pytest.mark.parametrize("name", ["CartPole-v1", "gymnasium_tasks:test/Everything-v0"])
def test_groups_processes_and_whole_steps_are_the_same(name):
    scenario = f"gymnasium:{name}"
    options = {"num_envs": 4, "seed": 5, "num_steps": 3}
    with make_pool(scenario, num_groups=1, **options) as pool:
        expected = rollout(pool, 25)
        actions = some_actions(pool, 25)
    assert any(step[3].any() or step[2].any() for step in expected)
    with make_pool(scenario, num_groups=2, processes=True, **options) as pool:
        pool.reset()
        for number in range(25):
            for group in (1, 0):
                pool.send(group, actions[number, pool.rows(group)])
            for group in (0, 1):
                step = copied(pool.recv(group))
                rows = [array[pool.rows(group)] for array in expected[number + 1]]
                assert_same([step], [rows])


def test_seeds():
    assert env_seeds_of(7, 2) == env_seeds_of(7, 9)[:2]
    first = {}
    for seed in (1, 2):
        with make_pool(COUNTER, num_envs=2, seed=seed) as pool:
            first[seed] = rollout(pool, 8)
            assert list(pool.seeds) == env_seeds_of(seed, 2)
            again = pool.reset().measurements.copy()
            assert (again != first[seed][0][5]).any()
            assert_same(
                [copied(pool.reset(env_seeds_of(1, 2)))[5:6]], [first[1][0][5:6]]
            )
    with make_pool(COUNTER, num_envs=2, seed=1) as pool:
        assert_same(rollout(pool, 8), first[1])
    assert (first[1][0][5] != first[2][0][5]).any()


def test_frame_skip_holds_the_action():
    with make_pool(COUNTER, num_envs=2, frame_skip=2) as pool:
        pool.reset()
        step = pool.step(np.ones((2, 1), np.int32))
        # 1 + 10 and 2 + 10
        assert step.reward.tolist() == [23, 23]
        step = pool.step(np.ones((2, 1), np.int32))
        # The third step ends the episode.
        assert step.reward.tolist() == [13, 13]
        assert step.truncated.all()


def test_images():
    with make_pool("gymnasium:test/Corner-v0", num_envs=4) as pool:
        assert pool.spec.observation.image == (12, 10, 1)
        assert pool.spec.action.heads == (2, 2)
        step = pool.reset()
        assert {*step.observation} == {"image"}
        assert ((step.obs == 255).sum((1, 2, 3)) == 30).all()
        shown = step.obs.reshape(4, 2, 6, 2, 5).max((2, 4)).reshape(4, 4).argmax(-1)
        actions = np.stack([shown // 2, shown % 2], -1).astype(np.int32)
        assert pool.step(actions).reward.tolist() == [1] * 4


def test_timeout():
    with make_pool("gymnasium:CartPole-v1", num_envs=2, timeout=3) as pool:
        pool.reset()
        ends = [pool.step(np.full((2, 1), i % 2)).truncated.all() for i in range(6)]
        assert ends == [False, False, True] * 2


def test_a_replay_is_the_same_episode_in_pictures():
    config = EnvConfig(
        scenario="gymnasium:CartPole-v1", num_envs=1, num_groups=1, frame_skip=1
    )
    with GymnasiumPool(config, seed=3) as pool:
        pool.reset()
        actions, ended = [], False
        while not ended:
            actions.append([1])
            step = pool.step(np.array(actions[-1:], np.int32))
            ended = bool(step.terminated[0])
        rows = np.array(actions, np.int32)
        made = replay(config.scenario, config.frame_skip, None, pool.seeds[0], rows)
        frames = list(made.frames)
    assert len(frames) == len(actions) + 1
    assert frames[0][0].shape == (400, 600, 3)
    end = int(step.info.episode_length[0]), step.info.episode_shaped_return[0]
    assert frames[-1].ended == end
    assert (frames[0][0] != frames[-1][0]).any()


def test_misuse():
    with make_pool(COUNTER, num_envs=2, num_groups=2) as pool:
        with pytest.raises(RuntimeError, match="call reset before"):
            pool.send(0, np.zeros((1, 1), np.int32))
        pool.reset()
        with pytest.raises(RuntimeError, match="nothing was sent to group 1"):
            pool.recv(1)
        pool.send(0, np.zeros((1, 1), np.int32))
        for call in (lambda: pool.step(np.zeros((2, 1), np.int32)), pool.reset):
            with pytest.raises(RuntimeError, match="group 0 is still stepping"):
                call()
        pool.recv(0)
        with pytest.raises(ValueError, match=r"shape \(2, 2\)"):
            pool.step(np.zeros((2, 2), np.int32))
        with pytest.raises(ValueError, match="outside head 0, which has 2"):
            pool.step(np.full((2, 1), 2, np.int32))


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("CartPol-v1", "no environment 'CartPol-v1': .*CartPole"),
        ("CartPole-v7", "no environment 'CartPole-v7'"),
        ("nowhere.at_all:Thing-v0", "No module named 'nowhere'"),
        ("test/Broken-v0", "Broken-v0 cannot be made: give it wings"),
        ("", "no environment ''"),
    ],
)
def test_environments_that_there_are_not(name, says):
    def broken(**kwargs):
        raise gymnasium.error.DependencyNotInstalled("give it wings")

    if "Broken" in name:
        gymnasium.register("test/Broken-v0", entry_point=broken)
    with pytest.raises(UserError, match=says):
        make_pool(f"gymnasium:{name}", num_envs=2)


def test_a_module_of_ones_own_in_the_current_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_own_tasks.py").write_text(
        "import gymnasium\n"
        "gymnasium.register('Mine-v0', entry_point='gymnasium_tasks:Counter')\n"
    )
    assert find("gymnasium:my_own_tasks:Mine-v0").id == "Mine-v0"


@pytest.mark.parametrize(
    "options", [{"depth": True}, {"width": 64}, {"tics": "queued"}]
)
def test_settings_of_doom_are_refused(options):
    with pytest.raises(UserError, match="is for Doom and does nothing for gymnasium:"):
        EnvConfig(scenario="gymnasium:CartPole-v1", **options)
    with pytest.raises(UserError, match="is for Gymnasium's environments"):
        EnvConfig(processes=True)
