"""Engines that a fork server starts: equal to others, and as safe."""

import ctypes
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
from engine_processes import gone, wait_until

from jaxfactory._util.errors import UserError
from jaxfactory.envs.doom import engine_config, engine_sandbox
from jaxfactory.envs.pool import make_pool


pytestmark = [pytest.mark.vizdoom, pytest.mark.usefixtures("nothing_is_left")]

# The first two engines start directly; see fork_server.cc.
DIRECT, FORKED = [0, 1], [2, 3]


def servers(pool) -> list[int]:
    """For each engine the server that it comes from, or 0."""
    groups = [os.getpgid(pid) for pid in pool.engine_pids]
    pairs = zip(groups, pool.engine_pids, strict=True)
    return [0 if group == pid else group for group, pid in pairs]


def played(scenario: str, **options) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    seen = []
    with make_pool(scenario, num_envs=4, seed=7, **options) as pool:
        seen.append(pool.reset().obs.copy())
        assert [bool(server) for server in servers(pool)] == [
            number in FORKED and not os.environ.get(engine_sandbox.FORKS)
            for number in range(4)
        ]
        for _ in range(90):
            heads = pool.spec.action.heads
            step = pool.step(rng.integers(0, heads, (4, len(heads)), np.int32))
            arrays = (*step[:-1], step.info.final_obs)
            seen += [np.copy(array) for array in arrays]
    return seen


# Episodes that end and start again, scripts with random numbers, bots.
@pytest.mark.parametrize("scenario", ["basic", "take_cover", "deathmatch_bots"])
def test_forked_engines_play_as_others(monkeypatch, scenario):
    forked = played(scenario)
    monkeypatch.setenv(engine_sandbox.FORKS, "off")
    directly = played(scenario)
    for one, other in zip(forked, directly, strict=True):
        np.testing.assert_array_equal(one, other)


def step(pool) -> np.ndarray:
    actions = np.zeros((pool.num_envs, len(pool.spec.action.heads)), np.int32)
    return pool.step(actions).info.restarted.copy()


def test_a_killed_engine_is_forked_again():
    with make_pool("basic", num_envs=4) as pool:
        pool.reset()
        server = servers(pool)[-1]
        for row in (DIRECT[0], FORKED[0]):
            os.kill(pool.engine_pids[row], signal.SIGKILL)
            assert step(pool).tolist() == [number == row for number in range(4)]
            assert servers(pool)[row] == server
    assert wait_until(lambda: gone(server))


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGSTOP])
def test_without_its_server_a_pool_goes_on(sign):
    with make_pool("basic", num_envs=4, engine_timeout=1.0) as pool:
        pool.reset()
        os.kill(servers(pool)[-1], sign)
        assert not step(pool).any()
        os.kill(pool.engine_pids[FORKED[0]], signal.SIGKILL)
        assert step(pool)[FORKED[0]]
        assert servers(pool)[FORKED[0]] == 0


def test_each_engine_has_its_own_core_and_files():
    with make_pool("basic", num_envs=4, num_workers=2) as pool:
        pool.reset()
        direct, forked = (pool.engine_pids[rows[0]] for rows in (DIRECT, FORKED))
        cores = [os.sched_getaffinity(pid) for pid in pool.engine_pids]
        assert set.union(*cores) == set(sorted(os.sched_getaffinity(0))[:2])
        assert all(len(core) == 1 for core in cores)
        assert limits(forked) == limits(direct)
        assert files(forked).keys() == files(direct).keys()
        for pid in (servers(pool)[-1], pool.engine_pids[FORKED[1]]):
            for number in files(forked).values():
                assert not share_a_file([forked, pid], number)


def limits(pid: int) -> list[str]:
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    names = ("NoNewPrivs", "Seccomp", "CapEff")
    return [line for line in status if line.startswith(names)]


def files(pid: int) -> dict[str, int]:
    """Descriptors of the files that a process reads, by their paths."""
    folder = Path(f"/proc/{pid}/fd")
    places = {os.readlink(entry): int(entry.name) for entry in folder.iterdir()}
    return {
        path: number
        for path, number in places.items()
        if path.startswith("/") and not path.startswith("/dev/")
    }


def share_a_file(pids: list[int], descriptor: int) -> bool:
    """Whether a read in one process moves the other's place in the file."""
    kcmp, file = 312, 0
    one, other = pids
    answer = ctypes.CDLL(None).syscall(kcmp, one, other, file, descriptor, descriptor)
    return answer == 0


def test_a_map_replaced_since_is_not_forked(monkeypatch, tmp_path):
    line = engine_config._command_line
    ours = tmp_path / "basic.wad"

    def with_a_copy(*arguments):
        executable, words = line(*arguments)
        at = words.index("-file") + 1
        if not ours.exists():
            shutil.copy(words[at], ours)
        return executable, [*words[:at], str(ours), *words[at + 1 :]]

    monkeypatch.setattr(engine_config, "_command_line", with_a_copy)
    with make_pool("basic", num_envs=4) as pool:
        pool.reset()
        assert servers(pool)[FORKED[0]]
        shutil.copy(ours, tmp_path / "new.wad")
        (tmp_path / "new.wad").replace(ours)
        os.kill(pool.engine_pids[FORKED[0]], signal.SIGKILL)
        assert step(pool)[FORKED[0]]
        assert servers(pool)[FORKED[0]] == 0


def test_an_invalid_switch(monkeypatch):
    monkeypatch.setenv(engine_sandbox.FORKS, "1")
    with pytest.raises(UserError, match="JAXFACTORY_ENGINE_FORKS is '1'"):
        make_pool("basic", num_envs=4)
