"""Statistics over the last episodes."""

import json
import math
from typing import NamedTuple

import pytest

from jaxfactory.metrics.episodes import EpisodeStats
from jaxfactory.metrics.timers import Stopwatch, Throughput


class Ended(NamedTuple):
    shaped_return: float
    raw_return: float
    length: int
    truncated: bool = False
    frags: int = 0
    place: int = 0


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def test_summary_of_a_window():
    stats = EpisodeStats()
    stats.extend([Ended(2, 0.5, 100), Ended(4, 1.5, 300)])
    # Mean (2 + 4) / 2 = 3; deviations -1 and 1, so the standard deviation is 1.
    assert stats.summary("shaped_return") == (3.0, 1.0, 2.0, 4.0)
    assert stats.summary("raw_return") == (1.0, 0.5, 0.5, 1.5)
    metrics = stats.metrics()
    assert metrics["episode/length"] == 200.0
    assert metrics["episode/length_max"] == 300.0
    assert metrics["episode/count"] == 2


def test_win_rate_of_a_window():
    stats = EpisodeStats()
    stats.extend([Ended(0, 0, 1)])
    assert math.isnan(stats.win_rate())
    places = (1, 2, 1, 4)
    stats.extend([Ended(0, 0, 1, frags=9, place=place) for place in places])
    assert stats.win_rate() == 0.5
    stats.clear()
    assert math.isnan(stats.win_rate())
    assert stats.total == 5


def test_the_window_forgets_the_oldest():
    stats = EpisodeStats(window=3)
    stats.extend(Ended(value, 0, 1) for value in range(5))
    # 2, 3 and 4 are left.
    assert stats.summary("shaped_return")[::2] == (3.0, 2.0)
    assert stats.total == 5
    assert stats.full


def test_no_episode_no_metrics():
    stats = EpisodeStats()
    assert stats.metrics() == {}
    assert math.isnan(stats.summary("shaped_return").mean)
    assert not stats.full


def test_the_window_survives_json():
    stats, other = EpisodeStats(), EpisodeStats()
    stats.extend([Ended(2, 0.5, 100), Ended(4, 1.5, 300)])
    other.load(json.loads(json.dumps(stats.state())))
    assert other.metrics() == stats.metrics()


def test_stopwatch_adds_up_a_leg_and_starts_again():
    clock = Clock()
    timer = Stopwatch(clock)
    for seconds in (1.0, 2.0):
        with timer.phase("engine_wait"):
            clock.now += seconds
    assert timer.drain() == {"time/engine_wait": 3.0}
    assert timer.drain() == {}


def test_stopwatch_counts_a_leg_that_raises():
    clock = Clock()
    timer = Stopwatch(clock)

    def fail():
        with timer.phase("update"):
            clock.now += 1.0
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert timer.drain() == {"time/update": 1.0}


def test_throughput_of_a_resumed_run():
    clock = Clock()
    throughput = Throughput(frames=1000, seconds=50.0, clock=clock)
    clock.now += 2.0
    throughput.update(1200)
    clock.now += 2.0
    # Last interval 600 / 2; since the start of this session 800 / 4.
    assert throughput.update(1800) == {
        "throughput/frames_per_second": 300.0,
        "throughput/frames_per_second_overall": 200.0,
        "time/wall_clock": 54.0,
    }
    assert throughput.seconds == 54.0
