"""Where the time went, with times that are made up."""

import io

import pytest
from rich.console import Console

from jaxfactory.metrics.time_breakdown import TimeBreakdown


def added(*iterations):
    phases, wall = TimeBreakdown(), 0.0
    # The first iterations compile and do not count.
    for iteration in [{"act": 1000.0}] * TimeBreakdown.SKIPPED + [*iterations]:
        wall += 10.0
        named = {f"time/{name}": value for name, value in iteration.items()}
        phases.add({"time/wall_clock": wall, **named})
    return phases


def test_one_thread():
    phases = added({"act": 2.0, "engine_wait": 1.0, "update": 6.0}, {"update": 7.0})
    assert phases.threads == {
        "sampler and learner": {
            "engine_wait": 1.0,
            "act": 2.0,
            "update": 13.0,
            "rest": pytest.approx(4.0),
        }
    }
    assert "the update" in phases.bottleneck()


def test_two_threads_are_summed_apart():
    phases = added(
        {"act": 2.0, "engine_wait": 7.5, "handover_wait": 6.0, "update": 4.0},
    )
    assert phases.threads == {
        "sampler": {"engine_wait": 7.5, "act": 2.0, "rest": pytest.approx(0.5)},
        "learner": {"handover_wait": 6.0, "update": 4.0, "rest": 0.0},
    }
    # The learner waits for the sampler, which waits for the engines.
    assert "the engines" in phases.bottleneck()


def test_the_one_that_never_waits_holds_back():
    phases = added(
        {"act": 2.0, "policy_wait": 7.0, "handover_wait": 0.1, "update": 9.0},
    )
    assert "the update" in phases.bottleneck()


def test_the_table_names_seconds_and_shares():
    console = Console(file=io.StringIO(), width=100)
    console.print(added({"act": 2.0, "update": 6.0}).table())
    text = console.file.getvalue()
    assert "update the parameters" in text
    assert "60%" in text
    assert "20%" in text


def test_there_is_none_while_jax_compiles():
    assert added().table() is None
