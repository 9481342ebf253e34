"""Scenarios of one's own: named, registered, trained on and found again."""

import dataclasses
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from places import EXAMPLES
from tiny import tiny_config

from jaxfactory._util.errors import UserError
from jaxfactory.cli import main
from jaxfactory.config import runs
from jaxfactory.config.train import (
    Config,
    EvaluateOptions,
)
from jaxfactory.envs import family
from jaxfactory.envs.pool import make_pool
from jaxfactory.evaluation.evaluate import run as run_evaluation
from jaxfactory.scenarios import scenario_table
from jaxfactory.scenarios.action_heads import Delta
from jaxfactory.scenarios.measurements import Measurement
from jaxfactory.scenarios.scenario import Scenario
from jaxfactory.scenarios.shaping import HeldWeapon, Shaping
from jaxfactory.training.loop import train


# What a module of the user's holds.
MODULE = """
from jaxfactory import Scenario, Shaping, register
from jaxfactory.scenarios.scenario_table import CFG_FOLDER

HELD = Scenario(name="held", cfg=CFG_FOLDER / "basic.cfg",
                shaping=(Shaping("AMMO2", fall=-1.0),))
register(Scenario(name="known", cfg=CFG_FOLDER / "basic.cfg", heads="flat"))
NUMBER = 3
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A package with scenarios in the current directory."""
    (tmp_path / "mine_of_tests").mkdir()
    (tmp_path / "mine_of_tests" / "games.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(scenario_table, "_REGISTERED", {})
    yield "mine_of_tests.games"
    for name in [n for n in sys.modules if n.startswith("mine_of_tests")]:
        del sys.modules[name]


def test_a_variable_and_a_registered_name_of_a_module(module):
    held = scenario_table.find(f"{module}:HELD")
    assert held.name == "held"
    known = scenario_table.find(f"{module}:known")
    assert known is scenario_table.find("known")
    assert scenario_table.reference(held) == f"{module}:HELD"
    assert scenario_table.reference(known) == f"{module}:known"
    assert scenario_table.reference("known") == f"{module}:known"
    assert scenario_table.reference(f"{module}:HELD") == f"{module}:HELD"
    assert scenario_table.find(scenario_table.reference(held)) is held


def test_a_file(module, tmp_path, monkeypatch):
    file = tmp_path / "mine_of_tests" / "games.py"
    held = scenario_table.find("mine_of_tests/games.py:HELD")
    assert scenario_table.reference(held) == f"{file}:HELD"
    assert scenario_table.reference("mine_of_tests/games.py:HELD") == f"{file}:HELD"
    monkeypatch.chdir("/")
    assert scenario_table.find(f"{file}:HELD") is held
    assert scenario_table.find(f"{file}:known").name == "known"


def test_the_others_have_references_too(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert scenario_table.reference("basic") == "basic"
    assert scenario_table.reference(scenario_table.find("battle")) == "battle"
    assert scenario_table.reference("own.cfg") == str(tmp_path / "own.cfg")
    lost = Scenario(name="lost", cfg=Path("own.cfg"))
    with pytest.raises(UserError, match="lost is not in a module's variable"):
        scenario_table.reference(lost)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("mine_of_tests.games:HELT", "has no 'HELT'; did you mean 'HELD'?"),
        ("mine_of_tests.games:NUMBER", "is 3, but must be a jaxfactory.Scenario"),
        ("mine_of_tests.gone:HELD", "there is no module 'mine_of_tests.gone'"),
        ("nowhere.py:HELD", "nowhere.py:HELD': there is no file /"),
        ("__main__:HELD", "defined at a prompt or in a notebook"),
    ],
)
def test_what_is_not_there_is_a_sentence(module, capsys, name, says):
    assert main.main(["train", "--scenario", name]) == 2
    assert says in capsys.readouterr().err


def test_a_name_is_given_once(module):
    one = Scenario(name="one", cfg=scenario_table.CFG_FOLDER / "basic.cfg")
    assert scenario_table.register(one) is one
    again = Scenario(
        name="one", cfg=scenario_table.CFG_FOLDER / "basic.cfg", heads="flat"
    )
    assert scenario_table.register(again) is scenario_table.find("one") is again
    with pytest.raises(UserError, match="a scenario named 'basic' already"):
        scenario_table.register(Scenario(name="basic", cfg=one.cfg))
    scenario_table.find(f"{module}:known")
    with pytest.raises(UserError, match="a scenario named 'known' already"):
        scenario_table.register(Scenario(name="known", cfg=one.cfg))
    with pytest.raises(UserError, match="did you mean one"):
        scenario_table.find("oe")


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"name": "a:b"}, "its name 'a:b' must not"),
        ({"delta": Delta(1, 10.0)}, "must have 2 choices or more"),
        ({"shaping": (HeldWeapon(1.0), HeldWeapon(2.0))}, "one HeldWeapon row"),
        ({"measurements": (Measurement("HEALTH", 0.0),)}, "a divisor"),
        ({"heads": (((), (("JUMP", 1.0),)),)}, "its heads press JUMP, but"),
        ({"shaping": (Shaping("HELTH", 1.0),)}, "no game variable named 'HELTH'"),
        ({"measurements": (Measurement("HELTH"),)}, "no game variable named 'HELTH'"),
    ],
    ids=str,
)
def test_fields_that_cannot_work(fields, says):
    with pytest.raises(UserError, match=re.escape(says)):
        make_pool(
            Scenario(
                **{
                    "name": "own",
                    "cfg": scenario_table.CFG_FOLDER / "basic.cfg",
                    **fields,
                }
            ),
            num_envs=1,
        )


@pytest.mark.vizdoom
def test_heads_and_measurements_of_ones_own():
    own = Scenario(
        name="own",
        cfg=scenario_table.CFG_FOLDER / "basic.cfg",
        heads=(((), (("MOVE_LEFT", 1.0), ("ATTACK", 1.0))),),
        shaping=(Shaping("AMMO2", fall=-1.0),),
        measurements=(Measurement("AMMO2", 25.0), Measurement("")),
    )
    with make_pool(own, num_envs=1) as pool:
        assert pool.spec.action.heads == (2,)
        assert pool.spec.action.names == (("NOTHING", "MOVE_LEFT+ATTACK"),)
        step = pool.reset()
        np.testing.assert_array_equal(step.measurements, np.float32([[2, 0]]))
        shots = 0
        for _ in range(20):
            step = pool.step(np.ones((1, 1), np.int32))
            shot = round(25 * float(2 - step.measurements[0, 0])) - shots
            shots += shot
            # None on the first decision, in which the first shot may fall.
            paid = step.reward[0] - step.info.raw_reward[0]
            assert paid == pytest.approx(-shot) or step.info.episode_length[0] == 4
        assert shots > 2


def small(scenario="basic") -> Config:
    return tiny_config(scenario, updates=2, env={"timeout": 40})


@pytest.mark.vizdoom
def test_a_run_finds_its_scenario_again(module, tmp_path):
    held = scenario_table.find(f"{module}:HELD")
    run = tmp_path / "run"
    train(small(), run, scenario=held)
    recorded = json.loads((run / "config.json").read_text())["env"]["scenario"]
    assert recorded == f"{module}:HELD"
    # The module is gone, and is found where it has moved to.
    (tmp_path / "elsewhere.py").write_text(MODULE)
    (tmp_path / "mine_of_tests" / "games.py").unlink()
    del sys.modules[module]
    sys.path_importer_cache.clear()
    scenario_table._REGISTERED.clear()
    options = EvaluateOptions(run=run, episodes=2, num_envs=2)
    with pytest.raises(UserError, match="cannot be imported: there is no module"):
        run_evaluation(options)
    moved = "elsewhere.py:HELD"
    options = dataclasses.replace(options, scenario=moved)
    assert run_evaluation(options)["scenario"] == moved
    # Training may go on with it too, but not with another one.
    config = small()
    moved_env = family.pinned(config.env, moved)
    runs.open_run(run, dataclasses.replace(config, env=moved_env))
    with pytest.raises(UserError, match=r"--scenario elsewhere\.py:OTHER"):
        runs.open_run(run, small(scenario="elsewhere.py:OTHER"))


@pytest.mark.vizdoom
def test_a_script_that_trains_when_it_is_imported(tmp_path, capsys):
    script = tmp_path / "script.py"
    script.write_text(
        MODULE + "from jaxfactory.config.train import Config\n"
        "from jaxfactory.training.loop import train\n"
        f"from pathlib import Path\ntrain(Config(), Path({str(tmp_path)!r}) / 'run')\n"
    )
    assert main.main(["train", "--scenario", f"{script}:HELD"]) == 2
    assert "was being imported; move that call under" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def run_python(folder: Path, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, *words], cwd=folder, capture_output=True, text=True,
        timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.vizdoom
def test_the_example_with_a_function(tmp_path):
    said = run_python(tmp_path, str(EXAMPLES / "exploring.py"))
    paid = [float(n) for n in re.findall(r": (-?\d+\.\d+), raw", said)]
    own = [float(n) for n in re.findall(r"raw (-?\d+\.\d+)", said)]
    assert len(paid) == len(own) == 4
    assert all(one > other + 0.05 for one, other in zip(paid, own))


@pytest.mark.vizdoom
def test_the_example_with_a_table():
    scenario = scenario_table.find(f"{EXAMPLES / 'saving_ammunition.py'}:SCENARIO")
    with make_pool(scenario, num_envs=1) as pool:
        assert pool.spec.action.heads == (3, 2)
        step = pool.reset()
        np.testing.assert_array_equal(step.measurements, np.float32([[1, 1]]))
        paid = []
        for _ in range(20):
            step = pool.step(np.array([[0, 1]], np.int32))  # shoots
            paid.append(round(float(step.reward[0] - step.info.raw_reward[0]), 6))
    assert {-0.05, 0.001} & set(paid)
    assert min(paid) < 0


@pytest.mark.slow
@pytest.mark.vizdoom
def test_it_trains_as_a_script_and_is_found_again(tmp_path):
    script = EXAMPLES / "saving_ammunition.py"
    run = tmp_path / "run"
    flags = ["--total-frames", "8192", "--num-envs", "16", "--run", str(run)]
    assert "saving_ammunition" in run_python(tmp_path, str(script), *flags)
    recorded = json.loads((run / "config.json").read_text())["env"]["scenario"]
    assert recorded == f"{script}:SCENARIO"
    options = EvaluateOptions(run=run, episodes=2, num_envs=2)
    assert run_evaluation(options)["scenario"] == recorded


@pytest.mark.vizdoom
def test_the_example_in_one_file():
    with make_pool(str(EXAMPLES / "shooting.cfg"), num_envs=1) as pool:
        assert pool.spec.action.heads == (3, 2)
        step = pool.reset()
        assert step.measurements.tolist() == step.info.game_variables.tolist()
        assert step.measurements[0, 0] == 50
