"""The pool's face: order, layout, lifetime, options, and a sentence for each misuse."""

import importlib.metadata
import re

import numpy as np
import pytest
from doom_reference import buffers

from jaxfactory import _core
from jaxfactory._util.errors import UserError
from jaxfactory.config.env import EnvConfig
from jaxfactory.envs.doom.pool import EngineError
from jaxfactory.envs.doom.pool_checks import check_actions
from jaxfactory.envs.pool import make_pool


pytestmark = pytest.mark.vizdoom


def some_actions(pool, steps: int, seed: int = 0) -> np.ndarray:
    heads = pool.spec.action.heads
    rng = np.random.default_rng(seed)
    return rng.integers(0, heads, (steps, pool.num_envs, len(heads))).astype(np.int32)


def flat(step) -> list[np.ndarray]:
    """Every array of a step; the final observation only where an episode ended."""
    ended = step.terminated | step.truncated
    *arrays, info = step
    final = np.where(ended[:, None, None, None], info.final_obs, 0)
    return [a.copy() for a in (*arrays, final, *info[1:])]


def rollout(pool, steps: int) -> list[list[np.ndarray]]:
    return [flat(pool.reset())] + [
        flat(pool.step(actions)) for actions in some_actions(pool, steps)
    ]


def assert_same(first, second):
    for number, (one, other) in enumerate(zip(first, second, strict=True)):
        for a, b in zip(one, other, strict=True):
            np.testing.assert_array_equal(a, b, f"step {number}")


SMALL = {"num_envs": 12, "timeout": 40, "seed": 5, "num_steps": 4}


@pytest.fixture(scope="module")
def expected():
    with make_pool("basic", num_groups=1, num_workers=1, **SMALL) as pool:
        played = rollout(pool, 24)
    # 40 tics are 10 decisions: every environment is truncated at least once.
    assert np.array([step[3] for step in played]).any(axis=0).all()
    return played


@pytest.mark.parametrize(
    "options",
    [
        {"num_groups": 1, "num_workers": 2},
        {"num_groups": 2, "num_workers": 3},
        {"num_groups": 4, "num_workers": 2, "pin": False},
        {"num_groups": 2, "serial": True},
        {"num_groups": 2, "num_steps": 7, "num_slabs": 3},
    ],
    ids=str,
)
def test_the_same_seed_gives_the_same_rollout_whatever_the_threads(expected, options):
    with make_pool("basic", **{**SMALL, **options}) as pool:
        assert_same(rollout(pool, 24), expected)


def test_another_seed_gives_another_rollout(expected):
    with make_pool("basic", num_groups=1, **{**SMALL, "seed": 6}) as pool:
        assert not np.array_equal(pool.reset().obs, expected[0][0])


def test_groups_by_hand_equal_whole_steps(expected):
    with make_pool("basic", num_groups=4, **SMALL) as pool:
        pool.reset()
        for number, actions in enumerate(some_actions(pool, 24), 1):
            for group in (2, 0, 3, 1):
                pool.send(group, actions[pool.rows(group)])
            for group in (1, 3, 2, 0):
                rows = pool.rows(group)
                whole = [array[rows] for array in expected[number]]
                assert_same([flat(pool.recv(group))], [whole])


def test_groups_may_run_ahead_of_each_other(expected):
    with make_pool("basic", num_groups=2, **SMALL) as pool:
        pool.reset()
        actions = some_actions(pool, 24)
        for group in (1, 0):
            rows = pool.rows(group)
            for number in range(24):
                pool.send(group, actions[number, rows])
                step = flat(pool.recv(group))
                assert_same([step], [[a[rows] for a in expected[number + 1]]])


def test_slabs():
    with make_pool("basic", num_envs=2, num_steps=3, num_slabs=2) as pool:
        obs = pool.arrays["obs"]
        assert obs.shape == (2, 4, 2, 72, 128, 3)
        for name, array in pool.arrays.items():
            assert array.ctypes.data % 64 == 0, name
        first = pool.reset()
        assert np.shares_memory(first.obs, obs[0, 0])
        held, copies = [], []
        for number, actions in enumerate(some_actions(pool, 20)):
            step = pool.step(actions)
            slab, slot = number // 3 % 2, number % 3 + 1
            assert step.obs.ctypes.data == obs[slab, slot].ctypes.data
            assert step.reward.base is not None
            assert np.shares_memory(step.reward, pool.slab(slab)["reward"][slot])
            if slot == 1 and number > 1:
                # Slot 0 repeats what the slab before ended with.
                before = obs[1 - slab, 3]
                np.testing.assert_array_equal(obs[slab, 0], before)
                np.testing.assert_array_equal(
                    pool.slab(slab)["is_first"][0], pool.slab(1 - slab)["is_first"][3]
                )
            held.append(step)
            copies.append((step.obs.copy(), step.reward.copy()))
            # num_slabs * num_steps = 6 further steps overwrite it; 5 do not.
            for old in range(max(0, number - 5), number + 1):
                np.testing.assert_array_equal(held[old].obs, copies[old][0])
                np.testing.assert_array_equal(held[old].reward, copies[old][1])


def test_arrays_stay_readable_after_close():
    with make_pool("basic", num_envs=2) as pool:
        step = pool.reset()
        copy = step.obs.copy()
    del pool
    np.testing.assert_array_equal(step.obs, copy)


def test_a_timeout_truncates_and_the_next_episode_begins_in_the_same_step():
    # 20 tics at 7 a decision: 7, 14, and 6 more.
    with make_pool(
        "my_way_home", num_envs=2, frame_skip=7, timeout=20, num_steps=64
    ) as pool:
        step = pool.reset()
        assert step.is_first.all()
        assert not step.truncated.any()
        lengths, own = [], np.zeros(2)
        for number, actions in enumerate(some_actions(pool, 12), 1):
            before = step.obs.copy()
            step = pool.step(actions)
            ends = number % 3 == 0
            own += step.info.raw_reward
            np.testing.assert_array_equal(
                step.info.episode_raw_return, own.astype(np.float32)
            )
            lengths.append(int(step.info.episode_length[0]))
            assert not step.terminated.any()
            assert (step.truncated == ends).all()
            assert (step.is_first == ends).all()
            if ends:
                own[:] = 0
                final = step.info.final_obs
                assert (final != step.obs).any(axis=(1, 2, 3)).all()
                assert (final != before).any()
        assert lengths == [7, 14, 20] * 4


@pytest.mark.parametrize(
    ("frame_skip", "decisions"), [(1, 28), (4, 7), (7, 4), (30, 1)]
)
def test_frame_skip(frame_skip, decisions):
    with make_pool(
        "basic", num_envs=1, num_groups=1, frame_skip=frame_skip, timeout=28
    ) as pool:
        pool.reset()
        for number in range(1, decisions + 1):
            step = pool.step(np.zeros((1, 1), np.int32))
            assert step.info.episode_length[0] == min(number * frame_skip, 28)
            assert step.truncated[0] == (number == decisions)
            # "basic" pays -1 for each tic.
            assert step.info.raw_reward[0] == -min(frame_skip, 28)


def test_reset_opens_new_episodes_and_starts_again_in_slot_0():
    with make_pool("basic", num_envs=2) as pool:
        pool.reset()
        for actions in some_actions(pool, 5):
            pool.step(actions)
        step = pool.reset()
        assert step.is_first.all()
        assert (step.info.episode_length == 0).all()
        assert (step.info.episode_shaped_return == 0).all()
        assert step.obs.ctypes.data == pool.arrays["obs"].ctypes.data


def test_gathering_pays_for_each_rise_of_health():
    with make_pool("health_gathering_supreme", num_envs=8, seed=2) as pool:
        health = pool.variable_names.index("HEALTH")
        pool.reset()
        rises, last = 0, np.full(8, np.nan)
        for actions in some_actions(pool, 300):
            step = pool.step(np.maximum(actions, 1))
            now = step.info.game_variables[:, health]
            ended = step.terminated | step.truncated
            # NaN stands for an episode's first decision, which has nothing before it.
            paid = (now > last) & ~ended
            rises += paid.sum()
            np.testing.assert_array_equal(
                step.reward, (step.info.raw_reward + paid).astype(np.float32)
            )
            last = np.where(ended, np.nan, now)
        assert rises > 0


def test_reward_scale():
    with make_pool("basic", num_envs=4, frame_skip=4) as pool:
        pool.reset()
        for actions in some_actions(pool, 20):
            step = pool.step(actions)
            np.testing.assert_array_equal(
                step.reward, (step.info.raw_reward * 0.01).astype(np.float32)
            )


@pytest.mark.parametrize("grayscale", [False, True])
def test_every_buffer_equals_doom_games(grayscale):
    scenario = "defend_the_center"
    with make_pool(
        scenario, num_envs=1, num_groups=1, width=160, height=120,
        grayscale=grayscale, depth=True, labels=True, automap=True,
    ) as pool:  # fmt: skip
        actions = some_actions(pool, 30)[:, 0]
        reference = buffers(
            scenario, seed=pool.seeds[0], actions=actions, grayscale=grayscale
        )
        step = pool.reset()
        seen = step.obs[0]
        assert seen.shape == (120, 160, 4 if grayscale else 8)
        np.testing.assert_array_equal(seen, next(reference))
        for action, image in zip(actions, reference, strict=True):
            seen = pool.step(action[None]).obs[0]
            np.testing.assert_array_equal(seen, image)
        colors = 1 if grayscale else 3
        for channel in (0, colors, colors + 1, colors + 2):
            assert np.unique(seen[:, :, channel]).size > 1, channel


def nearest(image: np.ndarray, height: int, width: int) -> np.ndarray:
    rows = np.arange(height) * image.shape[0] // height
    columns = np.arange(width) * image.shape[1] // width
    return image[rows][:, columns]


def test_the_default_image_is_the_screen_resized():
    options = {"num_envs": 2, "seed": 3}
    with (
        make_pool("basic", **options) as small,
        make_pool("basic", width=160, height=120, **options) as large,
    ):
        assert small.spec.observation.image == (72, 128, 3)
        pairs = [(small.reset(), large.reset())]
        for actions in some_actions(small, 5):
            pairs.append((small.step(actions), large.step(actions)))
            for little, big in pairs:
                for i in range(2):
                    np.testing.assert_array_equal(
                        little.obs[i], nearest(big.obs[i], 72, 128)
                    )


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_fast_resize_equals_the_plain_one(channels):
    rng = np.random.default_rng(channels)
    sizes = [1, 5, 7, 11, 16, 31, 33, 64, 72, 120, 128, 160, 161, 320]
    for width in sizes:
        for out_width in sizes:
            height, out_height = rng.integers(1, 9, 2)
            shape = (height, width, channels)
            image = rng.integers(0, 256, shape, dtype=np.uint8)
            fast = np.empty((out_height, out_width, channels), np.uint8)
            plain = np.empty_like(fast)
            _core.resize(image, fast)
            _core.resize(image, plain, reference=True)
            np.testing.assert_array_equal(fast, plain, f"{width} -> {out_width}")
            np.testing.assert_array_equal(plain, nearest(image, out_height, out_width))


def test_resize_refuses_other_channels():
    with pytest.raises(ValueError, match="same number of channels"):
        _core.resize(np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4, 1), np.uint8))


@pytest.mark.parametrize("size", [(100, 75), (7, 5), (4000, 10), (161, 121)])
def test_a_screen_size_that_the_engine_lacks(size):
    width, height = size
    with pytest.raises(UserError, match=f"{width}x{height}.*nearest.*160x120|nearest"):
        EnvConfig(screen_width=width, screen_height=height)


@pytest.mark.parametrize(
    ("size", "aspect_ratio"),
    [((320, 240), 4 / 3), ((256, 144), 16 / 9), ((320, 256), 5 / 4)],
)
def test_other_screen_sizes(size, aspect_ratio):
    width, height = size
    with make_pool(
        "basic", num_envs=1, screen_width=width, screen_height=height
    ) as pool:
        assert pool.reset().obs.std() > 1


def test_wide_is_another_screen_size():
    options = {"num_envs": 1, "width": 256, "height": 144}
    with (
        make_pool("basic", wide=True, **options) as wide,
        make_pool("basic", screen_width=256, screen_height=144, **options) as same,
    ):
        image = wide.reset().obs
        np.testing.assert_array_equal(image, same.reset().obs)
        # Every column is its own: nothing was stretched.
        assert (image[:, :, 1:] != image[:, :, :-1]).any(axis=(0, 1, 3)).mean() > 0.9


def test_image_sizes_must_be_sensible():
    with pytest.raises(UserError, match="width 100000"):
        EnvConfig(width=100_000)
    with make_pool("basic", num_envs=1, width=7, height=5) as pool:
        assert pool.reset().obs.shape == (1, 5, 7, 3)
    with make_pool("basic", num_envs=1, width=161, height=121) as pool:
        assert pool.reset().obs.shape == (1, 121, 161, 3)


def test_misuse_is_told_in_a_sentence():
    with make_pool("basic", num_envs=4, num_groups=2) as pool:
        none = np.zeros((4, 1), np.int32)
        with pytest.raises(RuntimeError, match="Call reset"):
            pool.step(none)
        with pytest.raises(RuntimeError, match="Nothing was sent"):
            pool.recv(0)
        pool.reset()
        wrong = none.copy()
        wrong[3] = 9
        for _ in range(2):  # and nothing is half done by it
            with pytest.raises(
                ValueError, match=r"index 9 of environment 3.*4 choices"
            ):
                pool.step(wrong)
        with pytest.raises(ValueError, match="-1"):
            pool.step(none - 1)
        pool.step(none)
        with pytest.raises(ValueError, match=re.escape("shape (3, 1)")):
            pool.step(none[:3])
        with pytest.raises(ValueError, match=re.escape("shape (4, 1)")):
            pool.send(0, none)
        with pytest.raises(ValueError, match="float64"):
            check_actions(np.zeros((4, 1)), 4, 1)
        with pytest.raises(ValueError, match="Group 2 does not exist"):
            pool.send(2, none[:2])
        pool.send(1, none[:2])
        with pytest.raises(RuntimeError, match="already"):
            pool.send(1, none[:2])
        with pytest.raises(RuntimeError, match="group 1 is still stepping"):
            pool.step(none)
        pool.recv(1)
        with pytest.raises(RuntimeError, match="Nothing was sent"):
            pool.recv(0)
        pool.step(none)
    for call in (pool.reset, lambda: pool.step(none), lambda: pool.recv(0)):
        with pytest.raises(RuntimeError, match="closed"):
            call()
    pool.close()
    assert pool.engine_pids == []


def test_two_pools_at_once(expected):
    with (
        make_pool("basic", num_groups=2, **SMALL) as one,
        make_pool("basic", num_groups=3, **SMALL) as other,
    ):
        one.reset()
        other.reset()
        for number, actions in enumerate(some_actions(one, 12), 1):
            steps = [flat(one.step(actions)), flat(other.step(actions))]
            assert_same(steps, [expected[number]] * 2)


def test_env_seeds():
    with make_pool("basic", num_envs=2, env_seeds=[4, 4]) as pool:
        step = pool.reset()
        np.testing.assert_array_equal(step.obs[0], step.obs[1])
    with make_pool("basic", num_envs=2) as pool:
        assert len(set(pool.seeds)) == 2


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"scenario": "health_gatering"}, "did you mean health_gathering"),
        ({"scenario": "nowhere.cfg"}, "no scenario file nowhere.cfg"),
        ({"env_seeds": [1]}, "1 env_seeds were given for 2"),
        ({"env_seeds": [1, -1]}, "-1"),
        ({"variables": ["HELTH"]}, "no game variable named 'HELTH'"),
        ({"num_steps": 0}, "num_steps 0"),
        ({"num_slabs": 0}, "num_slabs 0"),
        ({"seed": -1}, "seed -1"),
        ({"engine_timeout": 0.0}, "engine_timeout 0"),
        ({"start_timeout": float("inf")}, "start_timeout inf"),
    ],
    ids=str,
)
def test_options_that_cannot_work(options, says):
    scenario = options.pop("scenario", "basic")
    with pytest.raises(UserError, match=re.escape(says)):
        make_pool(scenario, num_envs=2, **options)


def test_another_version_of_vizdoom(monkeypatch):
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "1.9.9")
    with pytest.raises(UserError, match=r"1\.9\.9 .*1\.3\.2"):
        make_pool("basic", num_envs=1)


def test_delta_buttons_make_heads_of_their_own():
    with make_pool("deathmatch", num_envs=1) as pool:
        heads, names = pool.spec.action.heads, pool.spec.action.names
        delta = [i for i, head in enumerate(names) if "DELTA" in head[1]]
        assert [heads[i] for i in delta] == [11] * len(delta)
        assert len(delta) == 3
        assert all(head[0] == "NOTHING" for head in names)
        pool.reset()
        for actions in some_actions(pool, 5):
            pool.step(actions)


def test_a_cfg_of_ones_own(tmp_path):
    cfg = tmp_path / "mine.cfg"
    cfg.write_text(
        "doom_scenario_path = basic.wad\nliving_reward = 2\nepisode_timeout = 8\n"
        "available_buttons = { MOVE_LEFT ATTACK }\navailable_game_variables = { HEALTH }\n"  # noqa: E501
    )
    with make_pool(str(cfg), num_envs=1) as pool:
        assert pool.spec.action.heads == (2, 2)
        assert pool.variable_names == ("HEALTH",)
        pool.reset()
        pool.step(np.zeros((1, 2), np.int32))
        step = pool.step(np.zeros((1, 2), np.int32))
        assert step.info.episode_raw_return[0] == 16  # 8 tics, 2 each
        assert step.truncated[0]
        assert step.info.game_variables[0].tolist() == [100]


def test_a_missing_map(tmp_path):
    cfg = tmp_path / "mine.cfg"
    cfg.write_text("doom_scenario_path = gone.wad\navailable_buttons = { ATTACK }\n")
    with pytest.raises(UserError, match=r"the map gone\.wad of mine\.cfg is not in"):
        make_pool(str(cfg), num_envs=1)


@pytest.mark.parametrize(
    ("content", "extra", "says"),
    [
        (b"PWAD" + bytes(range(200)), "", "is not a map file"),
        (b"", "", "is not a map file"),
        (None, "doom_map = map77", "there is no map map77 in .*; it has map01"),
    ],
)
def test_a_broken_map_file_or_an_unknown_map(tmp_path, content, extra, says):
    if content is not None:
        (tmp_path / "basic.wad").write_bytes(content)
    cfg = tmp_path / "mine.cfg"
    cfg.write_text(
        f"doom_scenario_path = basic.wad\navailable_buttons = {{ ATTACK }}\n{extra}\n"
    )
    with pytest.raises(UserError, match=says):
        make_pool(str(cfg), num_envs=1)


def test_engine_error_is_a_runtime_error():
    assert issubclass(EngineError, RuntimeError)
