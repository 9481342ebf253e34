"""Metrics that a stranger made to do harm: left out of the report, or refused."""

import pytest
from hostile_runs import METRICS, sentence, shown_run

from jaxfactory.report import report, run_data


@pytest.mark.parametrize(
    "rows",
    [
        ["[" * 100_000, "{" * 50, "\x00", "1", "null", '"a"', "[1]", "NaN"],
        [{"frames": True}, {"frames": -5}, {"frames": 1e300}, {"frames": "7"}],
        [{"frames": [1]}, {"frames": None}, '{"frames": NaN}', '{"frames": Infinity}'],
        [{**METRICS, "losses/entropy": 1e308}, {**METRICS, "losses/entropy": -1e308}],
        [{**METRICS, "time/wall_clock": "soon", "episode/raw_return": [1]}],
        [{**METRICS, "time/wall_clock": -5.0}, {**METRICS, "time/wall_clock": 1e29}],
        [{**METRICS, "frames": 0}], [{"frames": 0}, {"frames": 0}],
        [{**METRICS, "x" * 500: 1.0, "a\x1b[2Jb": 2.0, "<script>": 3.0}, METRICS],
        ['{"frames": ' + "9" * 5000 + "}", '{"frames": 5, "frames": 6}'],
        [{**METRICS, "frames": n, "time/act": 1e30, "time/update": -1e30}
         for n in (1, 1, 2**53, 3, 4, 5, 6)],
    ],
    ids=range(11),
)  # fmt: skip
def test_metrics_that_are_none_are_left_out(tmp_path, rows):
    run = shown_run(tmp_path / "run", metrics=[METRICS, *rows])
    page = report.render([run_data.read(run)])
    assert "<script>3" not in page
    assert "\x1b" not in page
    # Two runs, too.
    report.render([run_data.read(run), run_data.read(shown_run(tmp_path / "other"))])


def test_metrics_that_would_fill_the_memory(tmp_path):
    many = {f"m{n}": 1.0 for n in range(999)}
    rows = [{"frames": 1, **many}] + [{"frames": 2}] * 3_000
    run = shown_run(tmp_path / "run", metrics=rows)
    assert "too few of its 1000 metrics" in sentence(run_data.read, run)
    run = shown_run(tmp_path / "names", metrics=[{"frames": 1, "a": 1, "b": 1, **many}])
    assert "more than 1,000 metrics" in sentence(run_data.read, run)
    run = shown_run(tmp_path / "line", metrics=['{"frames": 1' + " " * 2**20 + "}"])
    assert "too large" in sentence(run_data.read, run)


def test_numbers_too_close_for_a_picture(tmp_path):
    each = [{"shaped_return": 1e30, "raw_return": 1e30}] * 2
    run = shown_run(tmp_path / "run", each=each)
    assert "<svg" in report.render([run_data.read(run)])
