"""Engines that have played enough and are replaced at the end of an episode."""

import os
import shutil

import numpy as np
import pytest
from engine_processes import children

from jaxfactory._util.errors import UserError
from jaxfactory.config.train import Config, EnvConfig
from jaxfactory.envs.pool import make_pool
from jaxfactory.scenarios.maps import wad_files


pytestmark = pytest.mark.vizdoom

ENVS, LIMIT, TICS = 4, 40, 400


def played(steps: int, harm=lambda step, pids: None, **options):
    """Play; return copies of all steps, and the engines' process ids before each."""
    given = {
        "scenario": "basic",
        "num_envs": ENVS,
        "timeout": LIMIT,
        "seed": 3,
        "engine_tics": TICS,
    }
    seen, pids = [], []
    with make_pool(**given | options) as pool:
        rng = np.random.default_rng(0)
        heads = pool.spec.action.heads
        pool.reset()
        for number in range(steps):
            pids.append(list(pool.engine_pids))
            harm(number, pids[-1])
            step = pool.step(
                rng.integers(0, heads, (pool.num_envs, len(heads)), np.int32)
            )
            seen.append(
                [
                    a.copy()
                    for a in (*step[:-1], step.info.final_obs, step.info.restarted)
                ]
            )
    return seen, np.array(pids)


def assert_equal(one, other):
    for step, (mine, theirs) in enumerate(zip(one, other, strict=True)):
        for a, b in zip(mine, theirs, strict=True):
            np.testing.assert_array_equal(a, b, err_msg=f"step {step}")


@pytest.mark.usefixtures("nothing_is_left")
def test_engines_are_replaced_between_episodes():
    seen, pids = played(400)
    changes = pids[1:] != pids[:-1]
    for env in range(ENVS):
        # 400 decisions are 1,600 tics: four engines or more, the last one still plays.
        at = np.flatnonzero(changes[:, env])
        assert 3 <= len(at) <= 8
        ended = [step for step in at if seen[step][2][env] or seen[step][3][env]]
        assert ended == list(at)
        assert (np.diff(at) * 4 >= TICS // 2).all()
        assert (np.diff(at) * 4 <= TICS + 2 * LIMIT).all()
    assert len(set(np.flatnonzero(changes.any(1)))) > changes.any(0).sum() // 2
    assert not any(step[-1].any() for step in seen)  # none of them failed
    assert not set(pids.ravel().tolist()) & children()


@pytest.mark.parametrize(
    "options", [{"num_groups": 2}, {"num_workers": 1}, {"pin": False}]
)
def test_episodes_depend_on_the_seed_alone(options):
    assert_equal(played(250)[0], played(250, **options)[0])


def test_never():
    _, pids = played(300, engine_tics=0)
    assert (pids == pids[0]).all()


def test_another_engine_ends_while_they_start():
    """A failure takes the successors with it; nothing waits for them."""
    quiet, pids = played(250)
    first = int(np.flatnonzero((pids[1:] != pids[:-1])[:, 1])[0])

    def kill(step, pids):
        if step == first - 3:  # its successor has started
            os.kill(pids[1], 9)

    seen, killed = played(250, harm=kill)
    assert seen[first - 3][-1].tolist() == [False, True, False, False]
    others = [0, 2, 3]
    for mine, theirs in zip(quiet, seen, strict=True):
        for a, b in zip(mine, theirs, strict=True):
            np.testing.assert_array_equal(a[others], b[others])
    assert len(set(killed[:, 1].tolist())) >= 3


def test_where_no_engine_can_start_the_old_ones_stay(tmp_path):
    """The map is deleted after the start: whoever still plays goes on."""
    wad = tmp_path / "basic.wad"
    shutil.copy(wad_files.wheel_scenarios() / "basic.wad", wad)

    def delete(step, pids):
        if step == 5:
            wad.unlink()

    seen, pids = played(300, harm=delete, map=str(wad), num_envs=2)
    assert (pids == pids[0]).all()
    assert not any(step[-1].any() for step in seen)
    assert sum(step[2].sum() + step[3].sum() for step in seen) > 20


def test_the_engines_of_a_match_are_replaced_together():
    seen, pids = played(
        400, scenario="duel", num_envs=2, num_groups=1, timeout=350, engine_tics=700
    )
    changes = pids[1:] != pids[:-1]
    at = np.flatnonzero(changes.any(1))
    assert 1 <= len(at) <= 4
    assert changes[at].all()
    assert not any(step[-1].any() for step in seen)


def test_a_mistake_is_a_sentence():
    with pytest.raises(UserError, match="--engine-tics -1 must be 0 "):
        EnvConfig(engine_tics=-1)
    with pytest.raises(UserError, match="--engine-tics is for Doom and does nothing"):
        Config(env=EnvConfig(scenario="gymnasium:CartPole-v1", engine_tics=5))
