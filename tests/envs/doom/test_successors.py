"""Engines that have played enough and are replaced at the end of an episode."""

import os
import shutil

import numpy as np
import pytest
from engine_processes import children, gone, wait_until

from jaxfactory._util.errors import UserError
from jaxfactory.config.train import Config, EnvConfig
from jaxfactory.envs.pool import make_pool
from jaxfactory.scenarios.maps import wad_files


pytestmark = [pytest.mark.vizdoom, pytest.mark.usefixtures("nothing_is_left")]

ENVS, LIMIT, TICS = 4, 40, 400
GIVEN = {"num_envs": ENVS, "timeout": LIMIT, "seed": 3, "engine_tics": TICS}
MATCH = {
    "scenario": "duel", "num_envs": 2, "num_groups": 1, "timeout": 350,
    "engine_tics": 700,
}  # fmt: skip


def played(steps: int, harm=lambda step, pool: None, **options):
    """Play; return copies of all steps, and the engines' process ids before each."""
    seen, pids = [], []
    with make_pool(**{"scenario": "basic", **GIVEN} | options) as pool:
        rng = np.random.default_rng(0)
        heads = pool.spec.action.heads
        pool.reset()
        for number in range(steps):
            pids.append(list(pool.engine_pids))
            harm(number, pool)
            actions = rng.integers(0, heads, (pool.num_envs, len(heads)), np.int32)
            step = pool.step(actions)
            info = step.info
            seen.append(
                [a.copy() for a in (*step[:-1], info.final_obs, info.restarted)]
            )
    return seen, np.array(pids)


def changes(pids: np.ndarray) -> np.ndarray:
    return pids[1:] != pids[:-1]


def assert_equal(one, other, rows=slice(None)):
    for step, (mine, theirs) in enumerate(zip(one, other, strict=True)):
        for a, b in zip(mine, theirs, strict=True):
            np.testing.assert_array_equal(a[rows], b[rows], err_msg=f"step {step}")


def failed(seen) -> bool:
    return any(step[-1].any() for step in seen)


def successors(pool) -> set[int]:
    """The processes of a pool's engines that do not play yet, and its server's."""
    return children() - set(pool.engine_pids)


def test_engines_are_replaced_between_episodes():
    seen, pids = played(400)
    first = set()
    for env in range(ENVS):
        # 400 decisions are 1,600 tics, and 14 for each start of an episode.
        at = np.flatnonzero(changes(pids)[:, env])
        assert 3 <= len(at) <= 12
        assert all(seen[step][2][env] or seen[step][3][env] for step in at)
        # An engine plays one more episode when it has played enough.
        assert (np.diff(at) * 4 <= TICS + 2 * LIMIT).all()
        assert (np.diff(at) * 4 > LIMIT).all()
        first.add(at[0])
    assert len(first) > 1  # although all episodes may last as long
    assert not failed(seen)
    assert not set(pids.ravel().tolist()) & children()


@pytest.mark.parametrize(
    "options", [{"num_groups": 2}, {"num_workers": 1}, {"pin": False}]
)
def test_episodes_depend_on_the_seed_alone(options):
    assert_equal(played(250)[0], played(250, **options)[0])


def test_never():
    _, pids = played(300, engine_tics=0)
    assert (pids == pids[0]).all()


def test_an_engine_that_fails_takes_its_successor_with_it():
    quiet, pids = played(250)
    first = int(np.flatnonzero(changes(pids)[:, 1])[0])
    waiting = []

    def kill(step, pool):
        if step == first:
            waiting.extend(successors(pool))
            os.kill(pool.engine_pids[1], 9)

    seen, killed = played(250, harm=kill)
    assert len(waiting) > 1  # the server, and this engine's successor
    assert seen[first][-1].tolist() == [False, True, False, False]
    assert_equal(quiet, seen, [0, 2, 3])
    # What was killed with it never plays.
    assert not set(waiting) <= set(killed.ravel().tolist())
    assert len(set(killed[:, 1].tolist())) >= 3


def test_an_engine_whose_successor_dies_stays():
    _, pids = played(250)
    first = int(np.flatnonzero(changes(pids)[:, 1])[0])
    victims, ended = set(), []

    def kill(step, pool):
        if first - 8 <= step < first:
            # With the server, so all later ones start without it.
            victims.update(found := successors(pool))
            for pid in found:
                os.kill(pid, 9)
        if step == first:
            ended.extend(wait_until(lambda pid=pid: gone(pid)) for pid in victims)

    seen, after = played(300, harm=kill)
    assert len(victims) > 1
    assert not failed(seen)
    assert after[first + 1, 1] == after[0, 1]
    assert not victims & set(after.ravel().tolist())
    assert (after[-1] != after[0]).all()  # later ones took over


@pytest.mark.parametrize("change", ["delete", "replace"])
def test_where_the_map_is_gone_or_another_the_old_ones_stay(change, tmp_path):
    wad = tmp_path / "basic.wad"
    shutil.copy(wad_files.wheel_scenarios() / "basic.wad", wad)

    def harm(step, pool):
        if step == 5:
            wad.unlink()
            if change == "replace":
                shutil.copy(wad_files.wheel_scenarios() / "rocket_basic.wad", wad)

    seen, pids = played(300, harm=harm, map=str(wad), num_envs=2)
    assert (pids == pids[0]).all()
    assert not failed(seen)
    assert sum(step[2].sum() + step[3].sum() for step in seen) > 20


def test_the_engines_of_a_match_are_replaced_together():
    seen, pids = played(400, **MATCH)
    at = np.flatnonzero(changes(pids).any(1))
    assert 1 <= len(at) <= 4
    assert changes(pids)[at].all()
    assert not failed(seen)


def test_a_pool_reseeds_and_closes_while_successors_wait():
    server, waiting = set(), set()

    def look(step, pool):
        if step == 0:
            server.update(successors(pool))
        if (found := successors(pool) - server) and not waiting:
            waiting.update(found)
            pool.reset([7] * ENVS)
            assert not waiting & children()

    played(120, harm=look)
    assert len(server) == 1
    assert waiting

    def close(step, pool):
        found = successors(pool)
        if len(found) > 1:
            pool.close()
            assert not found & children()

    with pytest.raises(RuntimeError, match="closed"):
        played(120, harm=close)


def test_a_mistake_is_a_sentence():
    with pytest.raises(UserError, match="--engine-tics -1 must be 0 "):
        EnvConfig(engine_tics=-1)
    with pytest.raises(UserError, match="--engine-tics is for Doom and does nothing"):
        Config(env=EnvConfig(scenario="gymnasium:CartPole-v1", engine_tics=5))
