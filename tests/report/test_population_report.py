"""The report of a population: lineage, objectives and settings."""

import json
import re
import xml.etree.ElementTree as ET

import pytest

from jaxfactory.config import runs
from jaxfactory.config.agents.population import PopulationConfig
from jaxfactory.config.train import Config, EnvConfig
from jaxfactory.report import population, report, run_data


START = {"frames": 0, "kind": "start"}
EVENTS = [
    {**START, "policy": 0, "values": {"learning_rate": 1e-3, "gamma": 0.9}},
    {**START, "policy": 1, "values": {"learning_rate": 1e-5, "gamma": 0.9}},
    {**START, "policy": 2, "values": {"learning_rate": 1e-4, "gamma": 0.9}},
    {"frames": 1000, "kind": "copy", "policy": 1, "parent": 0, "score": 1.0,
     "parent_score": 5.0, "values": {"learning_rate": 2e-3, "gamma": 0.9}},
    {"frames": 1500, "kind": "mutate", "policy": 2, "score": 4.0,
     "values": {"learning_rate": 5e-5, "gamma": 0.9}},
    # Of no policy of this run, and after its end.
    {"frames": 1500, "kind": "mutate", "policy": 7, "values": {"gamma": 0.1}},
    {"frames": 9000, "kind": "mutate", "policy": 0, "values": {"gamma": 0.1}},
]  # fmt: skip


@pytest.fixture
def run(tmp_path):
    path = tmp_path / "run"
    env = EnvConfig(scenario="basic", num_envs=48)
    settings = PopulationConfig(num_policies=3)
    runs.open_run(path, Config(env=env, population=settings, total_frames=2000))
    rows = [
        {"frames": 100 * n, "time/wall_clock": 1.0 * n, "episode/raw_return": 1.0 * n,
         **{f"policy_{i}/raw_return": 1.0 * n + i for i in range(3)}}
        for n in range(1, 21)
    ]  # fmt: skip
    (path / runs.METRICS).write_text("".join(json.dumps(row) + "\n" for row in rows))
    lines = [json.dumps(event) + "\n" for event in EVENTS]
    (path / runs.POPULATION).write_text("".join(lines))
    return path


def test_lineage(run):
    chart, objectives, rates = population.charts(run_data.read(run))
    assert "2 of 3 lines survive" in chart.note
    svg = ET.fromstring(str(chart.svg))
    lanes = [
        one.attrib for one in svg.iter("line") if one.get("class")[:7] == "curve s"
    ]
    colors = [lane["class"] for lane in lanes]
    # Policy 1 in its own color until it becomes a copy of 0, then in that of 0.
    assert colors == ["curve s1", "curve s0", "curve s0", "curve s2"]
    # 1,000 of 2,000 frames: in the middle of 46 to 412.
    assert (lanes[0]["x1"], lanes[0]["x2"]) == ("46.0", "229.0")
    assert (lanes[2]["x1"], lanes[2]["x2"]) == ("229.0", "412.0")
    (link,) = [one for one in svg.iter("line") if "thin" in one.get("class")]
    assert (link.get("y1"), link.get("y2")) == (lanes[1]["y1"], lanes[2]["y1"])
    titles = [one.text for one in svg.iter("title")]
    assert titles == [
        "1,000 frames: policy 1 (1.00) becomes a copy of 0 (5.00); learning_rate "
        "0.002, gamma 0.9",
        "1,500 frames: policy 2 (4.00); learning_rate 5e-5, gamma 0.9",
    ]
    assert objectives.title == "raw return of each policy"
    assert [name for _, name in objectives.legend] == [
        "policy 0", "policy 1", "policy 2",
    ]  # fmt: skip
    # gamma is always the same; the rates lie 100 times apart.
    assert (rates.title, rates.note) == ("learning rate", "logarithm to base 10")
    data = json.loads(
        re.search('data-hover="(.*?)"', rates.svg)[1].replace("&#34;", '"')
    )
    one = data["series"][1]["y"]
    assert (one[0], one[98], one[-1]) == (-5.0, -5.0, -2.699)


def test_the_page_shows_a_population_once(run):
    page = report.render([run_data.read(run)])
    assert page.count("<h2>Population</h2>") == 1
    assert "policy 2/raw return" not in page
    member = runs.policy_dir(run, 1)
    runs.open_run(member, Config(env=EnvConfig(scenario="basic")))
    (member / runs.METRICS).write_text('{"frames": 5}\n')
    assert run_data.find([run.parent]) == [run]
    assert run_data.find([run / "policies"]) == [member]


def test_damaged_events_are_left_out(run):
    (run / runs.POPULATION).write_text('{"frames": "x"}\n{}\n')
    with pytest.warns(UserWarning, match="the report leaves it out"):
        assert population.charts(run_data.read(run)) == []


def test_names_cannot_become_markup(run):
    evil = {**EVENTS[3], "values": {"<script>": 1.0}}
    with (run / runs.POPULATION).open("a") as file:
        file.write(json.dumps(evil) + "\n")
    page = report.render([run_data.read(run)])
    assert "<script>\x20" not in page
    assert page.count("<script>") == 1
