"""Reports over runs that were written by hand, so that every number is known."""

import json
import math
import re
import shutil
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest

from jaxfactory._util.errors import UserError
from jaxfactory.cli import main
from jaxfactory.config import flat_text, runs
from jaxfactory.config.train import Config, EnvConfig, PPOConfig
from jaxfactory.report import report, run_data, svg_charts, svg_shapes


def make_run(path: Path, config: Config, level: float = 1.0, lines: int = 20) -> Path:
    """Write a run whose raw return rises from 0 to `level`."""
    runs.open_run(path, config)
    rows = [
        {
            "frames": number * 100,
            "losses/policy_loss": -0.01,
            "losses/entropy": None if number == 1 else 1.0 / number,
            "episode/raw_return": level * number / lines,
            "episode/raw_return_std": 0.5,
            "episode/shaped_return": 2 * level * number / lines,
            "episode/shaped_return_std": 1.0,
            "throughput/frames_per_second": 50.0,
            "time/wall_clock": 2.0 * number,
            "time/act": 0.5,
            "time/update": 1.0,
            "policy_lag/mean": number % 2,
        }
        for number in range(1, lines + 1)
    ]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (path / runs.METRICS).write_text(text + '{"frames": 99999, "half')
    return path


def evaluate_run(path: Path, own: list[float]) -> None:
    def summary(values):
        mean, std = float(np.mean(values)), float(np.std(values))
        return {
            "mean": mean, "std": std, "mean_minus_std": mean - std,
            "min": min(values), "max": max(values),
        }  # fmt: skip

    each = [
        {"shaped_return": 2 * v, "raw_return": v, "length": 7, "truncated": False}
        for v in own
    ]
    result = {
        "scenario": "basic", "frames_trained": 2000, "checkpoint": "best",
        "deterministic": False, "seed": 0, "episodes": len(own),
        "raw_return": summary(own), "shaped_return": summary([2 * v for v in own]),
        "length": summary([7.0] * len(own)), "truncated": 0, "each": each,
    }  # fmt: skip
    (path / "evaluation.json").write_text(json.dumps(result))


def basic(**changes) -> Config:
    return Config(env=EnvConfig(scenario="basic"), total_frames=2000, **changes)


def test_ticks_are_round_numbers():
    assert svg_shapes.ticks(0.0, 1.0, 5) == [0, 0.2, 0.4, 0.6, 0.8, 1.0]
    assert svg_shapes.ticks(3.2, 11.9, 4) == [5.0, 7.5, 10.0]
    assert svg_shapes.ticks(0.0, 3.0, 4, whole=True) == [0, 1, 2, 3]
    assert svg_shapes.ticks(2.0, 2.0) == [2]


def test_short_numbers():
    numbers = [svg_shapes.short(n) for n in (1.5e6, 2e5, 0.01, -2500.0, 3e-4, 0.0)]
    assert numbers == ["1.5M", "200k", "0.01", "-2.5k", "3e-4", "0"]


def test_a_line_has_a_gap_where_there_is_no_number():
    x = np.arange(6.0)
    y = np.array([0.0, 1.0, math.nan, 3.0, 4.0, 5.0])
    one = svg_shapes.Series("<b>&", y, y - 1, y + 1)
    svg = ET.fromstring(svg_charts.line_chart(x, [one], title='"a" < b'))
    assert svg.get("aria-label") == '"a" < b'
    lines = svg.findall("polyline")
    assert [len(line.get("points").split()) for line in lines] == [2, 3]
    # There and back along each band.
    bands = svg.findall("polygon")
    assert [len(band.get("points").split()) for band in bands] == [4, 6]
    hover = json.loads(svg.get("data-hover"))
    assert hover["series"][0]["y"] == [0, 1, None, 3, 4, 5]
    assert hover["series"][0]["name"] == "<b>&"


def test_a_line_lies_where_its_numbers_say():
    x, y = np.array([0.0, 10.0]), np.array([0.0, 2.0])
    svg = ET.fromstring(
        svg_charts.line_chart(x, [svg_shapes.Series("a", y)], title="", from_zero=True)
    )
    # From the left edge, 46, to the right one, 412; up from the bottom, 212, to
    # 10 + 202 * (0.1 / 2.1) = 19.6: a twentieth of room is left above.
    assert svg.find("polyline").get("points") == "46.0,212.0 412.0,19.6"


def test_stacked_areas_end_at_the_top():
    x = np.array([0.0, 1.0])
    layers = [
        svg_shapes.Series("a", np.array([0.25, 0.5])),
        svg_shapes.Series("b", np.array([0.75, 0.5]), color=1),
    ]
    svg = ET.fromstring(svg_charts.area_chart(x, layers, title="t"))
    lower, upper = svg.findall("polygon")
    assert lower.get("points") == "46.0,161.5 412.0,111.0 412.0,212.0 46.0,212.0"
    assert upper.get("points").startswith("46.0,10.0 412.0,10.0")


def test_a_histogram_counts():
    values = np.array([0.0, 0.1, 0.9, 1.0, 1.0])
    svg = ET.fromstring(svg_charts.histogram(values, title="t", bins=2))
    titles = [bar.find("title").text for bar in svg.findall("rect")]
    assert titles == ["0 to 0.5: 2", "0.5 to 1: 3"]
    # All the same value: one bar.
    svg = ET.fromstring(svg_charts.histogram(np.full(3, 21.0), title="t"))
    assert len(svg.findall("rect")) == 1


def test_a_run_is_read(tmp_path):
    run = run_data.read(make_run(tmp_path / "run", basic()))
    assert len(run.frames) == 20  # The half line is left out.
    assert math.isnan(run.columns["losses/entropy"][0])
    assert run.last("episode/raw_return") == 1.0
    assert math.isnan(run.last("nothing"))
    # 17 of the 20 iterations count, of 2 seconds each, 1.5 of them in phases.
    assert run.phases.seconds == pytest.approx(34.0)
    assert run.phases.threads["sampler and learner"]["rest"] == pytest.approx(8.5)


def test_metrics_of_evaluations_come_late(tmp_path):
    path = make_run(tmp_path / "run", basic())
    with (path / runs.METRICS).open("a") as file:
        file.write('\n{"frames": 500, "evaluation/raw_return": 3.5}\n')
    run = run_data.read(path)
    assert list(run.frames) == sorted(run.frames)
    at = np.flatnonzero(np.isfinite(run.columns["evaluation/raw_return"]))
    assert list(run.frames[at]) == [500]


def test_sampling_takes_means_and_leaves_the_ends_open(tmp_path):
    run = run_data.read(make_run(tmp_path / "run", basic(), level=20.0))
    # Values 1 to 20 at 100 to 2000: pairs 1.5, 3.5, ..., nothing past the end.
    grid = np.arange(200.0, 2401.0, 200.0)
    values = run_data.sample(run, "episode/raw_return", grid)
    np.testing.assert_allclose(values[:10], np.arange(1.5, 20.0, 2.0))
    assert np.isnan(values[10:]).all()


def test_mean_and_spread_over_runs():
    nan = math.nan
    curve = run_data.over_runs(
        [np.array([1.0, 2.0, 3.0, 4.0]), np.array([3.0, 2.0, nan, nan])]
    )
    np.testing.assert_array_equal(curve.mean, [2, 2, nan, nan])
    np.testing.assert_array_equal(curve.low, [1, 2, nan, nan])
    np.testing.assert_array_equal(curve.high, [3, 2, nan, nan])
    # The longer run goes on, joined to the mean's last place.
    np.testing.assert_array_equal(curve.rest[0], [nan, 2, 3, 4])
    np.testing.assert_array_equal(curve.rest[1], [nan, 2, nan, nan])
    alone = run_data.over_runs([np.array([1.0, nan])])
    np.testing.assert_array_equal(alone.mean, [1, nan])
    assert np.isnan(alone.low).all()


def test_runs_are_grouped_by_all_but_the_seed(tmp_path):
    paths = [
        make_run(tmp_path / "a", basic(seed=0)),
        make_run(tmp_path / "b", basic(seed=1, checkpoint_minutes=9.0)),
        make_run(tmp_path / "c", basic(ppo=PPOConfig(gamma=0.9))),
    ]
    groups = run_data.group([run_data.read(path) for path in run_data.find([tmp_path])])
    assert [group.label for group in groups] == ["gamma 0.99", "gamma 0.9"]
    assert [run.path for run in groups[0].runs] == paths[:2]


def test_the_nearest_preset_and_what_is_different():
    from jaxfactory.config.presets import PRESETS

    assert flat_text.nearest_preset(basic()) == ("default", {})
    near = Config(**{**vars(PRESETS["reference"]), "mode": "async"})
    assert flat_text.nearest_preset(near) == ("reference", {"mode": ("sync", "async")})


def test_the_page_of_one_run(tmp_path, capsys):
    path = make_run(tmp_path / "run", basic(ppo=PPOConfig(gamma=0.5)))
    evaluate_run(path, [1.0, 2.0, 3.0])
    (path / "evaluation.mp4").write_bytes(b"not really a video")
    assert main.main(["report", str(path)]) == 0
    assert str(path / "report.html") in capsys.readouterr().out
    page = (path / "report.html").read_text()
    for words in (
        "raw return over time", "policy loss", "mean − std", "gamma</th>",
        "compute actions and values", "policy lag/mean", "bm90IHJlYWxseSBhIHZpZGVv",
        "2.00 ± 0.82",
    ):  # fmt: skip
        assert words in page, words
    # Nothing is fetched from anywhere.
    assert not re.findall(r"(?:src|href|url)\s*[=(]\s*[\"']?(?!data:)[a-z/]", page)
    assert "http" not in page


def test_the_page_of_several_runs(tmp_path):
    for seed in (0, 1):
        path = make_run(
            tmp_path / "runs" / f"a{seed}", basic(seed=seed), level=1.0 + seed
        )
        evaluate_run(path, [1.0 + seed, 3.0 + seed])
        make_run(
            tmp_path / "runs" / f"b{seed}", basic(seed=seed, ppo=PPOConfig(gamma=0.5))
        )
    output = tmp_path / "deep" / "page.html"
    assert main.main(["report", str(tmp_path / "runs"), f"--output={output}"]) == 0
    page = output.read_text()
    # Last raw returns 1 and 2 of the seeds of one group, 1 and 1 of the other.
    assert "1.50 ± 0.50" in page
    assert "gamma 0.99 (2 seeds)" in page
    assert "gamma 0.99, seed 1" in page


def test_a_match_is_scored_by_frags_and_places(tmp_path):
    path = make_run(tmp_path / "run", basic())
    evaluate_run(path, [1.0, 2.0])
    file = path / "evaluation.json"
    result = json.loads(file.read_text())
    result |= dict.fromkeys(("frags", "place"), result["length"])
    file.write_text(json.dumps(result))
    page = report.render([run_data.read(path)])
    for what in ("length (tics)", "frags", "place"):
        assert len(re.findall(rf"<t[dh][^>]*>{re.escape(what)}</t", page)) == 1


def test_an_environment_without_shaping_has_one_return(tmp_path):
    env = EnvConfig(
        scenario="gymnasium:CartPole-v1", num_envs=4, num_groups=1, frame_skip=1
    )
    path = make_run(tmp_path / "run", Config(env=env, total_frames=2000))
    evaluate_run(path, [1.0, 2.0])
    page = report.render([run_data.read(path)])
    assert "<td>return</td>" in page
    assert "<td>length (steps)</td>" in page
    for other in ("shaped return", "length (tics)"):
        assert other not in re.sub(r"<thead>.*?</thead>", "", page, flags=re.S)
    doom = make_run(tmp_path / "doom", basic())
    assert "shaped return" in report.render([run_data.read(doom)])


def test_what_a_run_is_called_cannot_become_markup(tmp_path):
    path = make_run(tmp_path / "<script>alert(1)</script>", basic())
    page = report.render([run_data.read(path)])
    assert "<script>alert" not in page


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nowhere", "is not a directory"),
        ("empty", "is not a run of jaxfactory and has no run with"),
        ("fresh", "has no metrics yet"),
    ],
)
def test_a_mistake_is_a_sentence(tmp_path, name, words, capsys):
    (tmp_path / "empty").mkdir()
    runs.open_run(tmp_path / "fresh", basic())
    assert main.main(["report", str(tmp_path / name)]) == 2
    assert words in capsys.readouterr().err
    assert not list(tmp_path.glob("**/*.html"))


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("each", [1], "its each is [1]; evaluate the run again"),
        ("raw_return", 3, "its raw_return is 3;"),
        ("length", {"mean": "x"}, "its length is {'mean': 'x'};"),
        ("checkpoint", None, "its checkpoint is None;"),
    ],
)
def test_an_evaluation_of_another_kind_is_a_sentence(tmp_path, name, value, words):
    path = make_run(tmp_path / "run", basic())
    evaluate_run(path, [1.0, 2.0])
    file = path / "evaluation.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {name: value}))
    with pytest.warns(UserWarning, match="the report leaves it out") as caught:
        assert run_data.read(path).evaluation is None
    assert words in str(caught[0].message)


def test_an_unwritable_page_leaves_nothing(tmp_path, capsys):
    path = make_run(tmp_path / "run", basic())
    (tmp_path / "folder").mkdir()
    page = str(tmp_path / "folder")
    assert main.main(["report", str(path), "--output", page]) == 2
    assert "folder cannot be written (Is a directory)" in capsys.readouterr().err
    assert {p.name for p in tmp_path.iterdir()} == {"run", "folder"}


def test_an_unwritable_page_is_a_sentence(tmp_path):
    path = make_run(tmp_path / "run", basic())
    with pytest.raises(UserError, match="--output another path"):
        report.write([path], path / "config.json" / "page.html")


BROWSER = next(filter(None, map(shutil.which, ("chromium", "google-chrome"))), None)


@pytest.mark.skipif(BROWSER is None, reason="there is no chromium here")
@pytest.mark.parametrize("width", [390, 1280])
def test_in_a_browser(tmp_path, width):
    path = make_run(tmp_path / "run", basic())
    evaluate_run(path, [1.0, 2.0, 3.0])
    page = tmp_path / "page.html"
    report.write([path], page)
    # The page measures itself: is anything wider than the window, does hover work?
    probe = """<script>
    const chart = document.querySelector("svg[data-hover]");
    const box = chart.getBoundingClientRect();
    chart.dispatchEvent(new PointerEvent("pointermove", {
      clientX: box.left + box.width / 2, clientY: box.top + 9}));
    document.title = JSON.stringify({
      wide: document.documentElement.scrollWidth - innerWidth,
      tip: document.getElementById("tip").textContent,
      charts: document.querySelectorAll("svg").length});
    </script></body>"""
    inner = page.read_text().replace("</body>", probe)
    # A window cannot be as narrow as a phone's; a frame in it can.
    framed = tmp_path / "framed.html"
    escaped = inner.replace("&", "&amp;").replace('"', "&quot;")
    framed.write_text(
        f'<iframe width="{width}" height="800" srcdoc="{escaped}"></iframe><script>'
        "onload = () => document.title = frames[0].document.title</script>"
    )
    output = subprocess.run(
        [
            BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
            "--no-first-run", "--disable-background-networking",
            "--disable-component-update", "--disable-sync",
            f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", framed.as_uri(),
        ],
        capture_output=True, text=True, timeout=120, check=True,
    ).stdout  # fmt: skip
    found = json.loads(re.search(r"<title>(.*?)</title>", output).group(1))
    assert found["wide"] <= 0
    assert found["charts"] >= 8
    assert found["tip"].startswith("1,000 framesraw return: 0.5 ± 0.5")
