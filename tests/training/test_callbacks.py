"""Callbacks: what they see, what they add, and what happens when they fail."""

import re
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from jaxfactory._util.errors import UserCodeError, UserError
from jaxfactory.ppo.learner import TrainState
from jaxfactory.training.callbacks import Callbacks
from jaxfactory.types import Rollout


STATE = TrainState(*[None] * len(TrainState._fields))._replace(frames=128)
ROLLOUT = Rollout(*[None] * len(Rollout._fields))._replace(reward=np.ones((2, 3)))
RUN = Path("runs/x")


def call(*functions):
    watchers = Callbacks(functions, RUN)
    return watchers, watchers.call(STATE, ROLLOUT, {"losses/entropy": 1.5})


def test_they_see_the_iteration_and_what_others_added():
    seen = []

    def first(iteration):
        seen.append(iteration)
        return {"own/reward": iteration.rollout.reward.sum()}

    def second(iteration):
        total = iteration.metrics["losses/entropy"] + iteration.metrics["own/reward"]
        return {"own/total": jnp.float32(total), "own/count": 2}

    watchers, added = call(first, second, lambda iteration: None)
    # 2 * 3 rewards of 1, and 1.5 more.
    assert added == {"own/reward": 6.0, "own/total": 7.5, "own/count": 2.0}
    assert all(type(value) is float for value in added.values())
    (iteration,) = seen
    assert (iteration.frames, iteration.run_dir) == (128, RUN)
    assert iteration.state is STATE
    assert watchers.stopped is None
    watchers.raise_error()  # Nothing.


def test_without_any_there_is_nothing_to_call():
    assert not Callbacks((), RUN)
    assert Callbacks([print], RUN)


def test_one_may_stop_the_training():
    watchers, added = call(lambda i: i.stop("good enough"), lambda i: {"own/x": 1})
    assert watchers.stopped == "good enough"
    assert added == {"own/x": 1.0}
    watchers.raise_error()


def test_what_one_raises_waits_until_it_is_saved():
    def broken(iteration):
        return {}["nothing"]

    watchers, added = call(lambda i: {"own/x": 1}, broken, lambda i: {"own/y": 1})
    assert added == {"own/x": 1.0}
    assert watchers.stopped
    with pytest.raises(UserCodeError, match="broken raised KeyError") as caught:
        watchers.raise_error()
    assert "resume with: jaxfactory train --run runs/x" in str(caught.value)
    assert isinstance(caught.value.__cause__, KeyError)
    trace = caught.value.trace()
    assert 'return {}["nothing"]' in trace
    assert "callbacks.py" not in trace.replace("test_callbacks.py", "")


class Named:
    def __call__(self, iteration):
        return 3


@pytest.mark.parametrize(
    ("function", "sentence"),
    [
        (Named(), ":Named returned 3, but must return a dictionary"),
        (lambda i: {"losses/entropy": 1}, "'losses/entropy', which is already used"),
        (lambda i: {1: 1}, "the metric name 1, which is not a string"),
        (lambda i: {"own/x": "many"}, "returned 'many' for the metric 'own/x'"),
        (lambda i: {"own/x": np.ones(2)}, "for the metric 'own/x', but a metric is"),
    ],
)
def test_what_is_no_metric_is_a_sentence(function, sentence):
    watchers, added = call(function)
    assert added == {}
    with pytest.raises(UserError, match=re.escape(sentence)) as caught:
        watchers.raise_error()
    assert not isinstance(caught.value, UserCodeError)


def test_what_cannot_be_called_is_a_sentence():
    with pytest.raises(UserError, match="'print' is not callable"):
        Callbacks(["print"], RUN)
