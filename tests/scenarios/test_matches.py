"""Bots and matches: against `DoomGame`, in lockstep, and with engines that die."""

import dataclasses
import os
import signal
import socket
import time
from pathlib import Path

import match_reference
import numpy as np
import pytest
from engine_processes import names_of, udp_ports
from shaping_reference import VARIABLES, Frags, measurements

import jaxfactory
from jaxfactory._util.errors import UserError
from jaxfactory.config.env import EnvConfig
from jaxfactory.envs.doom.pool import EngineError, EnvPool
from jaxfactory.envs.pool import make_pool
from jaxfactory.evaluation.video import Recording, replay
from jaxfactory.scenarios import matches, scenario_table, shaping


# Twelve seconds of the game's time: 420 tics, 105 decisions.
SHORT = 0.2


def shortened(name: str, **changes) -> scenario_table.Scenario:
    """A scenario of the table with a shorter match, on the map that vizdoom brings."""
    row = scenario_table.find(name)
    match = dataclasses.replace(row.match, **{"minutes": SHORT, **changes})
    return dataclasses.replace(row, match=match, wads=row.wads[-1:])


def make(scenario: scenario_table.Scenario, **options) -> EnvPool:
    fields = EnvConfig.__dataclass_fields__
    chosen = {name: options.pop(name) for name in list(options) if name in fields}
    config = EnvConfig(**({"num_groups": 1} | chosen))
    return EnvPool(config, scenario=scenario, **options)


def drawn(pool, decisions: int, seed: int = 0) -> np.ndarray:
    heads = pool.spec.action.heads
    rng = np.random.default_rng(seed)
    shape = (decisions, pool.num_envs, len(heads))
    return rng.integers(0, heads, shape).astype(np.int32)


def gone(pids: list[int], seconds: float = 10.0) -> bool:
    limit = time.monotonic() + seconds
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        if time.monotonic() > limit:
            return False
        time.sleep(0.02)
    return True


def test_the_table_is_the_fields():
    rows = {name: scenario_table.find(name) for name in
            ("duel_bots", "deathmatch_bots", "duel", "deathmatch_full", "dm",
             "dwango5")}  # fmt: skip
    players = {name: (row.match.agents, row.match.bots) for name, row in rows.items()}
    assert players == {
        "duel_bots": (1, 1), "deathmatch_bots": (1, 7), "duel": (2, 0),
        "deathmatch_full": (4, 4), "dm": (8, 0), "dwango5": (8, 0),
    }  # fmt: skip
    tics = {name: row.match.tics for name, row in rows.items()}
    # 12 min of 35 tics/s.
    assert tics.pop("dm") == tics.pop("dwango5") == 25_200
    assert set(tics.values()) == {8400}  # 4 min
    heads = {
        name: tuple(len(head) for head in scenario_table.action_heads(row, row.load()))
        for name, row in rows.items()
    }
    # Forward, sideways, weapons, attack, speed, use, turn; without use against seven.
    for name in ("deathmatch_bots", "dm", "dwango5"):
        assert heads.pop(name) == (3, 3, 8, 2, 2, 21)
    assert set(heads.values()) == {(3, 3, 8, 2, 2, 2, 21)}


def test_the_rewards_and_maps_of_matches():
    rows = [scenario_table.find(name) for name in scenario_table.names()]
    found = {row.name: (row.shaping, row.wads) for row in rows if row.match}
    assert found == {
        "duel_bots": (shaping.FRAGS_V0, ("ssl2.wad", "multi_duel.wad")),
        "deathmatch_bots": (shaping.FRAGS_V0, ("dwango5.wad", "cig.wad")),
        "duel": (shaping.FRAGS_V1, ("ssl2.wad", "multi_duel.wad")),
        "deathmatch_full": (shaping.FRAGS_V1, ("freedm.wad", "multi_deathmatch.wad")),
        "dm": (shaping.FRAGS_V0, ("cig.wad",)),
        "dwango5": (shaping.FRAGS_V0, ("dwango5.wad", "cig.wad")),
    }


@pytest.mark.vizdoom
def test_eight_agents_play_a_match():
    """In twelve seconds instead of twelve minutes: 420 tics."""
    with make(
        shortened("dm"), num_envs=8, seed=6, engine_timeout=5.0, on_failure="raise"
    ) as pool:
        step = pool.reset()
        assert step.measurements.shape == (8, 23)
        lengths = []
        for action in drawn(pool, 110):
            step = pool.step(action)
            assert step.truncated.all() or not step.truncated.any()
            if step.truncated[0]:
                lengths = step.info.episode_length.tolist()
                assert sorted(step.info.place)[0] == 1
        assert lengths == [419] * 8


def test_a_scenario_of_ones_own_may_be_a_match():
    row = dataclasses.replace(
        scenario_table.find("duel"), match=jaxfactory.Match(bots=2)
    )
    match = matches.resolve(row.match, "mine", num_bots=3)
    assert (match.agents, match.bots) == (1, 3)
    assert match.rules()[:3] == ["-deathmatch", "+timelimit", "4"]


def test_bot_names():
    assert matches.bot_names()[:3] == ["Rambo", "McClane", "MacGyver"]
    assert len(matches.bot_names()) == 15


@pytest.mark.parametrize(
    ("scenario", "options", "words"),
    [
        ("basic", {"num_bots": 1}, "--num-bots 1 is for matches, and basic is none"),
        ("basic", {"num_agents": 2}, "--num-agents 2 is for matches"),
        ("duel", {"num_agents": 0}, "--num-agents 0 must be 1 or more"),
        ("duel", {"num_bots": -1}, "--num-bots -1 must be 0 or more"),
        ("duel", {"num_bots": 15}, "2 agents and 15 bots are 17 players"),
        ("duel", {"tics": "queued"}, "--tics queued is not for matches"),
        ("duel", {"num_envs": 3, "num_groups": 1}, "must be a multiple of 2"),
        ("deathmatch_full", {"num_envs": 12, "num_groups": 2}, "try 16"),
    ],
)
def test_what_cannot_be_played_is_a_sentence(scenario, options, words):
    with pytest.raises(UserError, match=words):
        make_pool(scenario, **({"num_envs": 4} | options))


def test_groups_hold_whole_matches():
    match = scenario_table.find("deathmatch_full").match
    matches.check_rows(8, 2, match.agents)
    with pytest.raises(UserError, match="--num-envs 8 must be a multiple of 16"):
        matches.check_rows(8, 2, 8)


@pytest.mark.vizdoom
@pytest.mark.parametrize(("name", "bots"), [("duel_bots", 1), ("deathmatch_bots", 5)])
def test_bots_equal_doom_game(name, bots):
    """Every pixel, shaped reward, measurement, frag and place of three episodes."""
    scenario = shortened(name, bots=bots)
    with make(
        scenario, num_envs=1, seed=5, width=160, height=120,
        variables=VARIABLES,
    ) as pool:  # fmt: skip
        actions = drawn(pool, 330)[:, 0]
        game = match_reference.play(scenario, seed=pool.seeds[0], actions=actions)
        shaping, step = Frags("v0"), pool.reset()
        seen = next(game)
        shaping.open(seen.variables)
        np.testing.assert_array_equal(step.obs[0], seen.screen)
        ends, deaths, returned, start = 0, 0, 0.0, seen.tic
        for action in actions:
            step = pool.step(action[None])
            seen = next(game)
            reward = shaping.decide(seen.variables, last=seen.finished)
            returned += reward
            info = step.info
            assert info.game_variables[0].tolist() == list(seen.variables.values())
            assert step.reward[0] == np.float32(reward)
            np.testing.assert_allclose(
                info.episode_shaped_return[0], returned, rtol=1e-5
            )
            assert info.frags[0] == seen.variables["FRAGCOUNT"] == seen.frags[0]
            assert info.episode_raw_return[0] == info.frags[0]
            assert info.place[0] == 1 + sum(f > seen.frags[0] for f in seen.frags)
            measured = info.final_measurements if seen.finished else step.measurements
            expected = np.float32(measurements(seen.variables))
            np.testing.assert_array_equal(measured[0], expected)
            deaths += seen.dead
            # A death is no end: the match's time is.
            assert not step.terminated[0]
            assert step.truncated[0] == step.is_first[0] == seen.finished
            if seen.finished:
                assert info.episode_length[0] == seen.tic - start == 420 - start
                ends, returned = ends + 1, 0.0
                seen = next(game)
                shaping.open(seen.variables)
                assert seen.tic == start
            np.testing.assert_array_equal(step.obs[0], seen.screen)
        game.close()
    assert ends == 3
    assert deaths > 0
    assert {"FRAGCOUNT fell", "DEATHCOUNT rose", "HEALTH rose"} & shaping.paid


@pytest.mark.vizdoom
def test_rows_of_a_match_are_one_game():
    """All rows end together, with frags that are each other's deaths."""
    variables = ["DEATHCOUNT", "PLAYER_NUMBER", "PLAYER_COUNT", *(
        f"PLAYER{i}_FRAGCOUNT" for i in (1, 2))]  # fmt: skip
    with make(
        shortened("duel"), num_envs=4, num_groups=2, seed=3,
        variables=variables,
    ) as pool:  # fmt: skip
        assert pool.match.agents == 2
        step = pool.reset()
        ends = 0
        for action in drawn(pool, 260):
            step = pool.step(action)
            info = step.info
            assert not step.terminated.any()
            ended = step.truncated.reshape(2, 2)
            assert (ended[:, 0] == ended[:, 1]).all()
            lengths = info.episode_length.reshape(2, 2)
            assert (lengths[:, 0] == lengths[:, 1]).all()
            ends += ended.sum()
            seen = info.game_variables.reshape(2, 2, -1)
            # Both engines of a match tell of the same two players.
            assert (seen[:, 0, 3:] == seen[:, 1, 3:]).all()
            assert (seen[:, :, 1] == [0, 1]).all()
            frags = info.frags.reshape(2, 2)
            assert (frags == seen[:, 0, 3:]).all()
            place = 1 + (frags < frags[:, ::-1])
            assert (info.place.reshape(2, 2) == place).all()
        assert ends == 8  # 260 decisions are two episodes of 105, and half of a third
        # The two agents of a match stand in different places.
        assert not np.array_equal(step.obs[0], step.obs[1])


def played(workers: int, groups: int):
    with make(
        shortened("duel", bots=1), num_envs=4, num_groups=groups,
        num_workers=workers, seed=11,
    ) as pool:  # fmt: skip
        pool.reset()
        steps = [pool.step(action) for action in drawn(pool, 130)][-64:]
        return [np.stack([leaf.copy() for leaf in leaves]) for leaves in zip(
            *((s.obs, s.reward, s.info.frags, s.is_first) for s in steps)
        )]  # fmt: skip


@pytest.mark.vizdoom
def test_the_same_seed_and_actions_give_the_same_matches():
    for one, other in zip(played(1, 1), played(2, 2), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.vizdoom
def test_an_order_acts_at_once_in_every_seat():
    """Each of a decision's four tics turns by the degrees of this very decision."""
    with make_pool("duel", num_envs=2, seed=2, variables=["ANGLE", "DEAD"]) as pool:
        names = pool.spec.action.names[-1]
        turns = [names.index("TURN_LEFT_RIGHT_DELTA=5"), names.index("NOTHING")]
        step = pool.reset()
        for number in range(60):
            before = step.info.game_variables[:, 0].copy()
            action = np.zeros((2, len(pool.spec.action.heads)), np.int32)
            # The seats take turns.
            action[:, -1] = [turns[number % 2], turns[1 - number % 2]]
            step = pool.step(action)
            angle, dead = step.info.game_variables.T
            assert not dead.any()
            if number > 3:  # For a moment after it has come a player cannot move.
                expected = [0.0, 20.0] if number % 2 else [20.0, 0.0]
                # The engine's angles are of 16 bits.
                np.testing.assert_allclose((before - angle) % 360, expected, atol=0.05)


@pytest.mark.vizdoom
@pytest.mark.parametrize("scenario", ["duel", "duel_bots"])
def test_the_replay_for_a_video_is_the_same_match(scenario):
    agents = scenario_table.find(scenario).match.agents
    config = EnvConfig(scenario=scenario, num_envs=agents, num_groups=1, timeout=200)
    with EnvPool(config, seed=8) as pool:
        pool.reset()
        actions = drawn(pool, 50)  # 200 tics
        steps = [pool.step(action) for action in actions]
        assert [bool(step.truncated.all()) for step in steps] == [False] * 49 + [True]
        own = float(steps[-1].info.episode_raw_return[0])
        recording = Recording(pool.seeds[0], actions, (200,), (own,))
    frames = list(replay(config, recording))
    assert len(frames) == 201
    assert frames[0].shape == (480, 640, 3)


@pytest.mark.vizdoom
@pytest.mark.parametrize("agents", [2, 4, 8])
def test_no_freeze_with_frame_skip(agents):
    started = time.monotonic()
    with make(
        shortened("deathmatch_full", agents=agents, bots=1),
        num_envs=agents, seed=1, engine_timeout=5.0, on_failure="raise",
    ) as pool:  # fmt: skip
        step = pool.reset()
        ends = 0
        for action in drawn(pool, 220):
            step = pool.step(action)
            assert step.truncated.all() or not step.truncated.any()
            ends += step.truncated[0]
        assert ends == 2
        assert not step.info.restarted.any()
    assert time.monotonic() - started < 90


@pytest.mark.vizdoom
@pytest.mark.parametrize("seat", [0, 1])
def test_a_dead_engine_restarts_its_match_alone(seat):
    with make(shortened("duel"), num_envs=4, num_groups=1, seed=3) as pool:
        pool.reset()
        actions = drawn(pool, 12)
        for action in actions[:5]:
            before = pool.step(action)
        last = before.obs[:2].copy()
        old = pool.engine_pids
        os.kill(old[seat], signal.SIGKILL)
        step = pool.step(actions[5])
        assert step.info.restarted.tolist() == [True, True, False, False]
        assert step.truncated.tolist() == [True, True, False, False]
        assert step.is_first.tolist() == [True, True, False, False]
        np.testing.assert_array_equal(step.info.final_obs[:2], last)
        assert step.info.episode_length[:2].tolist() == [20, 20]
        for action in actions[6:]:
            step = pool.step(action)
            assert not step.info.restarted.any()
        new = pool.engine_pids
        assert new[2:] == old[2:]
        assert not set(new[:2]) & set(old[:2])
        assert gone(old[:2])
        assert step.info.episode_length.tolist() == [24, 24, 48, 48]


@pytest.mark.vizdoom
def test_a_hanging_engine_is_noticed():
    with make(
        shortened("duel"), num_envs=2, seed=3, engine_timeout=0.5,
        on_failure="raise",
    ) as pool:  # fmt: skip
        pool.reset()
        pids = pool.engine_pids
        os.kill(pids[1], signal.SIGSTOP)
        with pytest.raises(EngineError, match=r"did not answer within 0\.5 s"):
            pool.step(drawn(pool, 1)[0])
        assert gone(pids)


@pytest.mark.vizdoom
def test_levels_whose_nodes_are_kept_are_played(tmp_path, monkeypatch):
    # Which happens where a level takes long to load, on a busy machine. It compresses
    # them with the function that packets are not to be compressed with.
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    # Where they are kept an engine may not write.
    monkeypatch.setenv("JAXFACTORY_ENGINE_SANDBOX", "off")
    row = shortened("duel")
    cfg = tmp_path / "kept.cfg"
    game = "+gl_cachenodes 1 +gl_cachetime 0"
    cfg.write_text(f"{row.cfg.read_text()}\ngame_args += {game}\n")
    kept = dataclasses.replace(row, cfg=cfg)
    with make(
        kept, num_envs=2, start_timeout=30.0, on_failure="raise", allow_game_args=True
    ) as pool:
        pool.reset()
        pool.step(drawn(pool, 1)[0])
    assert list((tmp_path / "home").rglob("*.gzc"))


@pytest.mark.vizdoom
def test_nothing_is_left():
    before = udp_ports()
    with make_pool("duel", num_envs=4, seed=1) as pool:
        pool.reset()
        pids = pool.engine_pids
        assert len(set(pids)) == 4
        # Two engines a match, and no port is used twice.
        assert len(udp_ports() - before) == 4
    assert gone(pids)
    assert udp_ports() <= before
    assert not names_of(os.getpid())


@pytest.mark.vizdoom
def test_pools_at_once_have_ports_of_their_own():
    with make_pool("duel", num_envs=2) as one, make_pool("duel", num_envs=2) as two:
        one.reset()
        two.reset()
        action = drawn(one, 1)[0]
        assert one.step(action).info.episode_length.tolist() == [4, 4]
        assert two.step(action).info.episode_length.tolist() == [4, 4]


@pytest.mark.vizdoom
def test_engines_listen_on_this_machine_only():
    with make_pool("duel", num_envs=2) as pool:
        pool.reset()
        lines = Path("/proc/net/udp").read_text().splitlines()[1:]
        inodes = {
            os.readlink(fd).partition("[")[2].rstrip("]")
            for pid in pool.engine_pids
            for fd in Path(f"/proc/{pid}/fd").iterdir()
            if os.readlink(fd).startswith("socket:")
        }
        ours = [line.split()[1] for line in lines if line.split()[9] in inodes]
        loopback = socket.inet_aton("127.0.0.1")[::-1].hex().upper()
        assert len(ours) == 2
        assert {address.partition(":")[0] for address in ours} == {loopback}


@pytest.mark.vizdoom
@pytest.mark.slow
@pytest.mark.stress
@pytest.mark.timeout(900)
@pytest.mark.parametrize("agents", [2, 4, 8])
def test_soak(agents):
    """Ten minutes without a freeze; SOAK_SECONDS for less."""
    seconds = float(os.environ.get("SOAK_SECONDS", "600"))
    with make_pool(
        "deathmatch_full", num_envs=agents, num_agents=agents, num_bots=0, seed=2,
        on_failure="raise",
    ) as pool:  # fmt: skip
        pool.reset()
        actions = drawn(pool, 512)
        limit, steps = time.monotonic() + seconds, 0
        while time.monotonic() < limit:
            step = pool.step(actions[steps % len(actions)])
            assert not step.info.restarted.any()
            steps += 1
        assert steps > seconds
