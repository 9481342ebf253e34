"""A run that was stopped and resumed computes what one does that was not stopped."""

import itertools
import os
import signal

import numpy as np
import pytest
from gymnasium_tasks import COUNTER
from saved_states import assert_equal
from tiny import tiny_config

from jaxfactory._util.errors import UserError
from jaxfactory._util.signals import TrainingInterrupted
from jaxfactory.config import runs
from jaxfactory.config.agents.population import PopulationConfig
from jaxfactory.config.train import Config, SelfPlayConfig
from jaxfactory.envs.seeds import env_seeds
from jaxfactory.training.loop import train


# One rollout of 4 environments x 8 steps x 4 tics.
ITERATION = 4 * 8 * 4
# Cut after every second rollout.
EXACT = {"resume": "exact", "exact_every": 2 * ITERATION + 5}


def doom(updates, **changes):
    ppo = {"lr_schedule": "constant"}
    settings = {"ppo": ppo, **EXACT, **changes}
    return tiny_config("health_gathering_supreme", updates, **settings)


def latest(run):
    return [int(path.name) for path in runs.checkpoint_dirs(run, "latest")]


@pytest.mark.slow
@pytest.mark.vizdoom
def test_a_stopped_run_gives_the_same_parameters(tmp_path):
    whole = train(doom(6), tmp_path / "whole")
    run = tmp_path / "run"
    # Stopped at a cut, between two, and twice before the same one.
    for updates in (2, 3, 3, 5):
        assert train(doom(updates), run).frames == updates * ITERATION
    assert latest(run) == [4 * ITERATION, 5 * ITERATION]
    assert_equal(train(doom(6), run), whole)
    # Without it, episodes begin anew at the stop.
    train(doom(3, resume="continue"), tmp_path / "other")
    other = train(doom(6, resume="continue"), tmp_path / "other")
    assert not np.array_equal(
        other.params["policy"]["bias"], whole.params["policy"]["bias"]
    )


def test_a_signal_between_two_cuts(tmp_path):
    def config(updates):
        env, ppo = {"frame_skip": 1}, {"lr_schedule": "constant"}
        exact = {"resume": "exact", "exact_every": 64}
        return tiny_config(COUNTER, updates, env=env, ppo=ppo, **exact)

    def interrupt(iteration):
        if iteration.frames == 96:
            os.kill(os.getpid(), signal.SIGTERM)

    run = tmp_path / "run"
    with pytest.raises(TrainingInterrupted, match="exactly from 64 frames"):
        train(config(6), run, callbacks=[interrupt])
    assert latest(run) == [64, 96]
    assert_equal(train(config(6), run), train(config(6), tmp_path / "whole"))


def test_seeds_of_resumed_runs_are_of_no_other_run():
    """Those of seed 0 after n frames were those of seed n."""

    def seeds(seed, frames):
        return env_seeds(seed, 64, frames)

    assert seeds(7, 0) is None
    assert seeds(7, 8192) == seeds(7, 8192)
    assert len(seeds(7, 8192)) == 64
    drawn = [
        seeds(seed, frames) for seed in (0, 1, 8192) for frames in (8192, 8193, 2**32)
    ]
    each = list(itertools.chain(*drawn))
    assert len(set(each)) == len(each) == 9 * 64
    assert all(0 <= seed < 2**32 for seed in each)
    # As a part of the run's episodes do, they do not depend on the number of others.
    assert env_seeds(7, 4, 8192) == seeds(7, 8192)[:4]


@pytest.mark.parametrize(("change", "flag"), [
    ({"mode": "async"}, "--mode async"), ({"stagger": 100}, "--stagger"),
])  # fmt: skip
def test_what_cannot_be_repeated_is_refused(change, flag):
    with pytest.raises(UserError, match=f"--resume exact cannot repeat .*{flag}"):
        Config(resume="exact", **change)


@pytest.mark.parametrize("policies", [1, 2])
def test_matches_against_the_past_cannot_be_repeated(tmp_path, policies):
    config = tiny_config(
        "duel",
        self_play=SelfPlayConfig(self_play_share=1.0),
        population=PopulationConfig(num_policies=policies),
        **EXACT,
    )
    with pytest.raises(UserError, match=r"exact cannot repeat .*--self-play-share"):
        train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_run_stays_exact_or_not(tmp_path):
    train(tiny_config(COUNTER, 1, env={"frame_skip": 1}), tmp_path)
    other = tiny_config(COUNTER, 2, env={"frame_skip": 1}, resume="exact")
    with pytest.raises(
        UserError, match=r"--resume continue and cannot .* --resume exact"
    ):
        train(other, tmp_path)
