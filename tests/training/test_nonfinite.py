"""Training on numbers that are not finite: skipped, counted, and in the end stopped."""

import json

import gymnasium
import jax
import numpy as np
import pytest
from gymnasium_tasks import Task
from saved_states import assert_equal
from tiny import tiny_config
from updates import nonfinite_leaf

from jaxfactory._util.errors import UserError
from jaxfactory.checkpoints.saved_run import load_for_evaluation
from jaxfactory.config import runs
from jaxfactory.ppo import finite
from jaxfactory.training.loop import train
from jaxfactory.training.nonfinite import MOST_SKIPPED, NonFinite


class Poison(Task):
    """Rewards 1, and not a number from its 17th step to a last one."""

    observation_space = gymnasium.spaces.Box(-1.0, 1.0, (1,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self, last):
        self._steps, self._last = 0, last

    def observe(self):
        return self.np_random.uniform(-1, 1, 1).astype(np.float32)

    def reward(self, action):
        self._steps += 1
        return np.nan if 17 <= self._steps <= self._last else 1.0


for last in (24, 10**9):
    gymnasium.register(f"test/Poison{last}-v0", lambda last=last: Poison(last))


def config(last, updates):
    ppo = {"lr_schedule": "constant"}
    env = {"frame_skip": 1}
    name = f"gymnasium:test/Poison{last}-v0"
    return tiny_config(name, updates, env=env, ppo=ppo)


def rows(run):
    lines = (run / runs.METRICS).read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_a_run_that_is_not_finite_any_more_ends(tmp_path):
    run = tmp_path / "run"
    # A rollout is 8 steps of 4 environments: the third is not finite.
    with pytest.raises(
        UserError, match=r"of 5 updates in a row .* the rewards at 96 fr"
    ):
        train(config(10**9, 100), run)
    skipped = [row[f"losses/{finite.SKIPPED}"] for row in rows(run)]
    # The metrics are fetched one update late.
    assert skipped == [0, 0, *[4] * (MOST_SKIPPED + 1)]
    assert all(f"losses/{finite.FIRST}" not in row for row in rows(run))
    state = train(config(10**9, 2), tmp_path / "good")
    saved = load_for_evaluation(run)
    assert saved.frames == 8 * 32
    restored = saved.restore(state)
    good = state._replace(
        step=restored.step, key=restored.key, frames=restored.frames,
        normalizer=restored.normalizer,
    )  # fmt: skip
    assert_equal(restored, good)


def test_a_run_that_is_finite_again_goes_on(tmp_path):
    state = train(config(24, 8), tmp_path / "run")
    assert state.frames == 8 * 32
    assert not nonfinite_leaf((state.params, state.normalizer))
    skipped = [row[f"losses/{finite.SKIPPED}"] for row in rows(tmp_path / "run")]
    assert skipped == [0, 0, 4, 0, 0, 0, 0, 0]


def losses(skipped, code=1, bonus=0.0):
    return {
        finite.SKIPPED: skipped,
        finite.FIRST: code,
        "bonus_" + finite.SKIPPED: bonus,
    }


def test_updates_with_a_step_do_not_end_a_run(tmp_path):
    watch = NonFinite({"w": jax.numpy.zeros(1)}, steps=4, max_grad_norm=1.0)
    said = watch.check(losses(2.0, 2), 100)
    assert said.startswith("2 of 4 gradient steps were skipped")
    assert said.endswith("the gradient of w at 100 frames")
    for frames in range(200, 3000, 100):
        assert not watch.check(losses(3.0), frames)
    watch.raise_error(tmp_path)
    for frames in range(3000, 3000 + 100 * MOST_SKIPPED, 100):
        watch.check(losses(4.0), frames)
    with pytest.raises(
        UserError, match="the gradient of w at 100 frames; the last good"
    ):
        watch.raise_error(tmp_path)


def test_a_policy_that_is_replaced_learns_again():
    watch = NonFinite({}, steps=1, max_grad_norm=1.0)
    for frames in range(MOST_SKIPPED):
        watch.check(losses(1.0), frames)
    assert watch.stopped
    watch.reset()
    assert watch.stopped is None
    for frames in range(MOST_SKIPPED - 1):
        watch.check(losses(1.0), frames)
    assert watch.stopped is None


def test_bonuses_that_are_not_finite_end_a_run(tmp_path):
    watch = NonFinite({}, steps=1, max_grad_norm=1.0)
    assert "exploration bonus" in watch.check(losses(0.0, 0, bonus=1.0), 10)
    assert not watch.check(losses(0.0, 0), 20)
    for frames in range(30, 30 + MOST_SKIPPED):
        watch.check(losses(0.0, 0, bonus=1.0), frames)
    assert (
        watch.stopped
        == "the loss of the exploration bonus, or its gradient at 30 frames"
    )


@pytest.mark.parametrize(("limit", "remedy"), [(4.0, "or"), (0.0, "or set")])
def test_the_norm_is_to_be_lowered_or_set(tmp_path, limit, remedy):
    watch = NonFinite({}, steps=1, max_grad_norm=limit)
    for frames in range(MOST_SKIPPED):
        watch.check(losses(1.0), frames)
    with pytest.raises(
        UserError, match=f"lower --learning-rate {remedy} --max-grad-norm, and resume"
    ):
        watch.raise_error(tmp_path)
