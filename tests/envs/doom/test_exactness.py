"""The pool plays exactly what `DoomGame` plays: every pixel, reward and variable."""

from pathlib import Path

import numpy as np
import pytest
from doom_reference import instances, make_game, play, start

from jaxfactory.envs.pool import make_pool


pytestmark = pytest.mark.vizdoom

VARIABLES = ["HEALTH", "AMMO2", "KILLCOUNT", "HITCOUNT", "POSITION_X", "POSITION_Y",
             "ANGLE", "SELECTED_WEAPON", "USER1", "USER2"]  # fmt: skip

# Scenario, decisions, and what must have happened for the comparison to mean something.
CASES = [
    ("basic", 500, {"scripted reward", "kill", "timeout"}),
    ("health_gathering_supreme", 700, {"death"}),
    ("defend_the_center", 700, {"death", "kill", "scripted reward"}),
    ("my_way_home", 1100, {"timeout"}),
    ("deadly_corridor", 300, {"death", "scripted reward"}),
    ("deathmatch", 300, {"delta button"}),
    ("take_cover", 300, {"death"}),
]


def test_the_reference_shares_nothing_by_name():
    before = instances()
    game = make_game("basic", seed=1)
    start(game)
    (instance,) = instances() - before
    assert not list(Path("/dev/shm").glob(f"ViZDoom*{instance}"))
    game.new_episode()
    opened = game.get_episode_time()
    game.make_action([0.0, 0.0, 0.0], 4)
    assert game.get_episode_time() == opened + 4
    game.close()
    assert instances() == before


@pytest.mark.parametrize(("scenario", "decisions", "must"), CASES)
def test_equals_doom_game(scenario, decisions, must):
    with make_pool(
        scenario, num_envs=1, seed=7, width=160, height=120, variables=VARIABLES
    ) as pool:
        rng = np.random.default_rng(1)
        heads = pool.spec.action.heads
        actions = rng.integers(0, heads, (decisions, len(heads))).astype(np.int32)
        reference = play(
            scenario, seed=pool.seeds[0], actions=actions, variables=VARIABLES
        )
        seen = _compare(pool, reference, actions)
    if any("DELTA" in name for head in pool.spec.action.names for name in head):
        seen.add("delta button")
    assert must <= seen


def _compare(pool, reference, actions) -> set[str]:
    seen = set()
    own, kills = 0.0, 0.0
    step = pool.reset()
    assert step.is_first.all()
    np.testing.assert_array_equal(step.obs[0], next(reference))
    for number, (action, played) in enumerate(zip(actions, reference, strict=True)):
        step = pool.step(action[None])
        where = f"decision {number}"
        assert step.info.raw_reward[0] == played.reward, where
        assert step.info.game_variables[0].tolist() == played.variables, where
        assert (step.terminated[0] or step.truncated[0]) == played.finished, where
        assert step.is_first[0] == played.finished, where
        if not played.finished or played.dead or played.timed_out:
            # (A map that ended has no time any more that DoomGame could tell.)
            assert step.info.episode_length[0] == played.length, where
        own += played.reward
        assert step.info.episode_raw_return[0] == np.float32(own), where
        if played.finished:
            assert step.truncated[0] == (played.timed_out and not played.dead), where
            how = "timeout" if played.timed_out else "end"
            seen.add("death" if played.dead else how)
            own, kills = 0.0, 0.0
            np.testing.assert_array_equal(step.obs[0], played.first_screen, where)
        else:
            np.testing.assert_array_equal(step.obs[0], played.screen, where)
        if played.variables[2] > kills:
            seen.add("kill")
            kills = played.variables[2]
        if abs(played.reward) >= 0.5 and not played.dead:
            seen.add("scripted reward")
    return seen


@pytest.mark.parametrize(
    ("scenario", "decisions"), [("my_way_home", 700), ("take_cover", 300)]
)
def test_queued_tics_differ_only_where_a_player_dies(scenario, decisions):
    """Time-outs cut a queued step as they do an exact one; a death does not."""
    with (
        make_pool(scenario, num_envs=1, seed=3) as exact,
        make_pool(scenario, num_envs=1, seed=3, tics="queued") as queued,
    ):
        rng = np.random.default_rng(2)
        ended, ours, theirs = 0, exact.reset(), queued.reset()
        for _ in range(decisions):
            np.testing.assert_array_equal(ours.obs, theirs.obs)
            heads = exact.spec.action.heads
            action = rng.integers(0, heads, (1, len(heads))).astype(np.int32)
            ours, theirs = exact.step(action), queued.step(action)
            assert ours.terminated[0] == theirs.terminated[0]
            assert ours.truncated[0] == theirs.truncated[0]
            extra = theirs.info.episode_length[0] - ours.info.episode_length[0]
            if ours.truncated[0]:
                final = ours.info.final_obs
                np.testing.assert_array_equal(final, theirs.info.final_obs)
            if ours.terminated[0]:
                # What was left of the step has been played.
                assert 0 <= extra < 4
            else:
                assert extra == 0
                assert ours.reward[0] == theirs.reward[0]
            ended += int(ours.is_first[0])
        assert ended >= 1
