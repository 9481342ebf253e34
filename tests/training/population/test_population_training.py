"""Several policies in one run: they are separate, resumed together, and evaluated."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
from gymnasium_tasks import COUNTER, Counter
from places import TESTS
from saved_states import assert_equal, leaves
from tiny import tiny_config

from jaxfactory._util.errors import UserError
from jaxfactory._util.signals import TrainingInterrupted
from jaxfactory.checkpoints.saved_run import load_for_evaluation, policy_run
from jaxfactory.cli import main
from jaxfactory.config import runs
from jaxfactory.config import train as config_lib
from jaxfactory.config.agents.population import PopulationConfig
from jaxfactory.evaluation.agent import load_agent
from jaxfactory.metrics import metrics_file
from jaxfactory.population.history import read
from jaxfactory.training.loop import train
from jaxfactory.training.population import loop as population_loop


# One rollout of a policy: 4 environments x 8 steps.
ROLLOUT = 32


def make(updates, policies=3, *, ppo=None, **options):
    """Three policies with four environments each; cut after every second rollout."""
    config = tiny_config(
        COUNTER,
        env={"frame_skip": 1, "num_envs": 4 * policies},
        ppo={"lr_schedule": "constant", **(ppo or {})},
        resume="exact",
        exact_every=2 * ROLLOUT,
    )
    return dataclasses.replace(
        config,
        total_frames=updates * ROLLOUT,
        population=PopulationConfig(num_policies=policies, **options),
    )


PBT = {
    "pbt": True,
    "pbt_period": ROLLOUT,
    "pbt_warmup": 0,
    "pbt_gap": 0.0,
    "pbt_mutation_probability": 0.7,
    "pbt_settings": ("learning_rate", "ent_coef", "clip_eps", "gamma"),
    "policy_values": ("learning_rate=1e-2,1e-3,1e-4",),
}


class Watched:
    """What the loop did: states at its end, copies, compiled programs, rows seen."""

    def __init__(self, config, run):
        self.run, self.states, self.copies, self.compiled = run, [], [], []
        self.seen = []
        count = [0]

        def listen(name, *_, **__):
            count[0] += name == "/jax/core/compile/backend_compile_duration"

        def run_loop(session):
            update = session.update

            def watched(state, rollout, publish, own):
                others = [s for s in session.states if s is not state]
                seeds = np.asarray(rollout.obs["measurements"])[0, :, 0]
                self.seen.append(seeds.tolist())
                result = update(state, rollout, publish, own)
                assert all(any(s is o for o in session.states) for s in others)
                return result

            session.update = watched
            self.seeds = session.sampler._collector._pool.seeds
            loop(session)
            self.states = session.states

        def select(session, before):
            self.compiled.append(count[0])
            rank(session, before)
            for event in events(run):
                if (event.frames, event.kind) == (session.frames, "copy"):
                    pair = [session.states[i] for i in (event.policy, event.parent)]
                    apart = not (
                        {id(x) for x in jax.tree.leaves(pair[0].opt_state)}
                        & {id(x) for x in jax.tree.leaves(pair[1].opt_state)}
                    )
                    self.copies.append((*map(leaves, pair), apart))

        loop, rank = population_loop.run_loop, population_loop.select
        jax.monitoring.register_event_duration_secs_listener(listen)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(population_loop, "run_loop", run_loop)
            patch.setattr(population_loop, "select", select)
            self.returned = train(config, run)


def events(run):
    return read(run / runs.POPULATION)


def row(run):
    return json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return Watched(make(4, **PBT), tmp_path_factory.mktemp("whole") / "run")


def test_a_resumed_population_is_the_same(tmp_path, whole):
    run = tmp_path / "run"
    # Between two cuts: it is resumed from the second rollout's end.
    assert train(make(3, **PBT), run).frames == 3 * ROLLOUT
    resumed = Watched(make(4, **PBT), run)
    for one, other in zip(resumed.states, whole.states, strict=True):
        assert_equal(one, other)
    assert events(run) == events(whole.run)
    kinds = [event.kind for event in events(run)]
    assert kinds.count("start") == 3
    assert kinds.count("copy") >= 2
    assert resumed.returned.frames == 4 * ROLLOUT


def test_copies_are_exact(whole):
    """Frames, number of updates and key are a policy's own, all else its parent's."""
    assert len(whole.copies) >= 2
    for copy, parent, apart in whole.copies:
        assert apart
        differ = [not np.array_equal(a, b) for a, b in zip(copy, parent, strict=True)]
        # The leaf before the last is the key; frames and updates are as many.
        assert sum(differ) == 1


def test_settings_compile_nothing(whole):
    """Policies and mutations share the programs of the first iterations."""
    assert whole.compiled[0] > 0
    assert whole.compiled[2] == whole.compiled[-1]
    values = [event.values for event in events(whole.run)]
    assert len({value["learning_rate"] for value in values}) >= 4
    assert len({value["gamma"] for value in values}) >= 3


def test_each_policy_is_a_run(whole):
    last = {event.policy: event.values for event in events(whole.run)}
    for number in range(3):
        folder = whole.run / "policies" / str(number)
        config = runs.load_config(folder)
        assert config.env.num_envs == 4
        assert config.population.num_policies == 1
        assert config.ppo.learning_rate == last[number]["learning_rate"]
        assert config.ppo.gamma == last[number]["gamma"]
        assert row(folder)["frames"] == 4 * ROLLOUT
        assert list((folder / "tensorboard").iterdir())


def test_a_population_is_one_run(whole):
    """The newest run, and what a command finds below a directory, is the whole."""
    assert runs.find_newest_run(whole.run.parent) == whole.run
    saved = runs.checkpoint_dirs(whole.run, "latest")
    assert [int(path.name) for path in saved] == [2 * ROLLOUT, 4 * ROLLOUT]
    metrics = row(whole.run)
    # 12 environments; two rollouts until each cut are five episodes of three steps.
    assert metrics["episode/count"] == 12 * 5 * 2
    assert {f"policy_{i}/raw_return" for i in range(3)} <= metrics.keys()
    best = max(metrics[f"policy_{i}/raw_return"] for i in range(3))
    assert metrics["population/best_raw_return"] == best


def test_each_policy_learns_from_its_own_rows(whole):
    """The environments show the first number of their seed."""
    shown = [float(Counter().reset(seed=seed)[0][0]) for seed in whole.seeds]
    assert len(set(shown)) == 12
    assert whole.seen[:3] == [shown[:4], shown[4:8], shown[8:]]


@pytest.mark.slow
def test_policies_do_not_touch_each_other(tmp_path):
    """What policy 1 has for settings changes nothing for policy 0."""
    one = Watched(
        make(2, 2, policy_values=("learning_rate=1e-3,1e-3",)), tmp_path / "a"
    )
    values = ("learning_rate=1e-3,1e-2", "gamma=0.99,0.5")
    two = Watched(make(2, 2, policy_values=values), tmp_path / "b")
    assert_equal(one.states[0], two.states[0])
    assert abs(leaves(one.states[1])[0] - leaves(two.states[1])[0]).max() > 1e-4
    metrics = row(tmp_path / "b" / "policies" / "1")
    assert metrics["losses/learning_rate"] == pytest.approx(1e-2)
    assert metrics["losses/gamma"] == pytest.approx(0.5)
    assert metrics["losses/ent_coef"] == pytest.approx(0.003)


@pytest.fixture
def run(whole, tmp_path):
    """A copy of the run; policy 1 is the best one in its last checkpoint."""
    run = tmp_path / "run"
    shutil.copytree(whole.run, run)
    for number, score in enumerate((5.0, 9.0, 7.0)):
        path = runs.checkpoint_dirs(runs.policy_dir(run, number), "latest")[-1]
        host = json.loads((path / "host.json").read_text())
        host["episodes"]["rows"] = [[0.0, score, 3.0]]
        (path / "host.json").write_text(json.dumps(host))
    return run


def test_policies_are_found_by_number_or_as_the_best(run):
    assert policy_run(run) == run / "policies" / "1"
    assert policy_run(run, "2") == run / "policies" / "2"
    assert load_for_evaluation(run).path.is_relative_to(run / "policies" / "1")
    assert load_agent(run, "latest", policy="2").frames == 4 * ROLLOUT
    with pytest.raises(UserError, match=r"--policy 3: the run .* policies 0 to 2"):
        policy_run(run, "3")
    with pytest.raises(UserError, match=r"--policy 1: the run .* has a single policy"):
        policy_run(run / "policies" / "0", "1")


def test_the_best_policy_is_evaluated(run, capsys):
    flags = ["--run", str(run), "--checkpoint", "latest", "--episodes", "2"]
    assert main.main(["evaluate", *flags, "--num-envs", "2"]) == 0
    assert f"policy 1 of the run {run}" in capsys.readouterr().out
    own = json.loads((run / "policies" / "1" / "evaluation.json").read_text())
    whole = json.loads((run / "evaluation.json").read_text())
    assert whole == {**own, "policy": 1}
    assert own["frames_trained"] == 4 * ROLLOUT
    assert not (run / "policies" / "0" / "evaluation.json").exists()


def test_a_policy_is_not_resumed_alone(run):
    alone = runs.load_config(run / "policies" / "2")
    with pytest.raises(UserError, match=r"is one policy of the run .*--init-from"):
        train(alone, run / "policies" / "2")


def test_another_number_of_policies_is_refused(run):
    with pytest.raises(UserError, match="with --num-policies 3 and cannot resume with"):
        train(make(6, 4), run)


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([], "lacks the settings of policy 0"),
        (["[]"], "line 1: it is not an event"),
        (['{"frames": 0, "kind": "copy", "policy": -1}'], "line 1: a field is invalid"),
    ],
)
def test_lost_events_are_reported(run, lines, words):
    file = run / runs.POPULATION
    rest = file.read_text().splitlines()[1:] if lines else []
    file.write_text("".join(f"{line}\n" for line in [*lines, *rest]))
    with pytest.raises(UserError, match=words):
        train(make(6, **PBT), run)


def test_policies_without_a_common_checkpoint_are_reported(run):
    for number in range(3):
        saved = runs.checkpoint_dirs(runs.policy_dir(run, number), "latest")
        shutil.rmtree(saved[number % 2])
    with pytest.raises(UserError, match="no readable checkpoint of the same frames"):
        train(make(6, **PBT), run)


@pytest.mark.slow
def test_a_population_killed_while_saving_is_the_same(tmp_path):
    """As a process leaves it that dies when one of its policies is written."""
    whole = Watched(make(6, **PBT), tmp_path / "whole")
    run = tmp_path / "run"
    train(make(2, **PBT), run)
    train(make(4, **PBT), run)
    for number in (1, 2):
        newest = runs.checkpoint_dirs(runs.policy_dir(run, number), "latest")[-1]
        assert int(newest.name) == 4 * ROLLOUT
        newest.rename(run / f"lost{number}")
    with (run / runs.POPULATION).open("a") as file:
        file.write('{"frames": 1')  # The line that it was writing.
    # Policy 0 has a checkpoint that the others lack, and goes back with them.
    resumed = Watched(make(6, **PBT), run)
    for one, other in zip(resumed.states, whole.states, strict=True):
        assert_equal(one, other)
    assert events(run) == events(whole.run)
    for number in range(3):
        saved = runs.checkpoint_dirs(runs.policy_dir(run, number), "latest")
        assert [int(path.name) for path in saved] == [4 * ROLLOUT, 6 * ROLLOUT]


@pytest.mark.slow
def test_a_population_that_is_killed_is_the_same(tmp_path):
    """By SIGKILL, at three moments; it saves after every second rollout."""
    config = make(40, **PBT)
    whole = Watched(config, tmp_path / "whole")
    run, file = tmp_path / "run", tmp_path / "config.json"
    file.write_text(json.dumps(config_lib.to_dict(config)))
    program = (
        "import sys; from pathlib import Path; from jaxfactory.config import runs\n"
        "from jaxfactory.training.loop import train\n"
        "train(runs.read_config(Path(sys.argv[1])), Path(sys.argv[2]))\n"
    )
    paths = [str(TESTS / "helpers"), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    for rollouts in (7, 16, 29):
        child = subprocess.Popen(
            [sys.executable, "-c", program, str(file), str(run)], env=environment
        )
        try:
            deadline = time.monotonic() + 300
            while child.poll() is None and frames_of(run) < rollouts * ROLLOUT:
                assert time.monotonic() < deadline
                time.sleep(0.01)
        finally:
            child.kill()
            assert child.wait() == -signal.SIGKILL
    resumed = Watched(config, run)
    for one, other in zip(resumed.states, whole.states, strict=True):
        assert_equal(one, other)
    assert events(run) == events(whole.run)


def frames_of(run):
    rows = metrics_file.read(run / runs.METRICS)
    return rows[-1]["frames"] if rows else 0


@pytest.mark.slow
def test_first_policy_is_that_of_a_run_of_one(tmp_path):
    """Before its first update, with the same settings; the others differ."""
    slow = {"learning_rate": 1e-9}
    many = Watched(make(1, ppo=slow), tmp_path / "many").states
    config = make(1, 1, ppo=slow)
    one = train(config, tmp_path / "one")
    for a, b in zip(
        jax.tree.leaves(many[0].params), jax.tree.leaves(one.params), strict=True
    ):
        np.testing.assert_allclose(a, b, atol=1e-6)
    kernels = [np.asarray(state.params["policy"]["kernel"]) for state in many]
    assert abs(kernels[0] - kernels[1]).max() > 0.01
    assert abs(kernels[1] - kernels[2]).max() > 0.01


@pytest.mark.slow
def test_a_signal_saves_all_policies(tmp_path):
    run = tmp_path / "run"

    def interrupt(iteration):
        if (iteration.frames, iteration.run_dir.name) == (3 * ROLLOUT, "2"):
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(TrainingInterrupted, match="exactly from 64 frames"):
        train(make(6), run, callbacks=[interrupt])
    for number in range(3):
        saved = runs.checkpoint_dirs(runs.policy_dir(run, number), "latest")
        assert [int(path.name) for path in saved] == [64, 96]
