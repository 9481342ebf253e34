"""Experiments that are not imported, or with a note: one message each."""

import shutil

import numpy as np
import pytest
from experiments import copy, imported, rewrite
from places import EXPERIMENTS

from jaxfactory._util.errors import UserError
from jaxfactory.cli import main
from jaxfactory.config import runs
from jaxfactory.sample_factory import convert
from jaxfactory.scenarios import scenario_table


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"actor_critic_share_weights": False}, "has no convolutions"),
        ({"encoder_conv_architecture": "resnet_impala"}, "(4, 3, 8, 8) and not"),
        ({"encoder_conv_architecture": "vit"}, "encoder_conv_architecture vit"),
        ({"rnn_num_layers": 2}, "weight_ih_l1 is missing"),
        ({"rnn_num_layers": 0}, "rnn_num_layers is 0"),
        ({"nonlinearity": "gelu"}, "nonlinearity gelu"),
        ({"encoder_conv_mlp_layers": [16, 16]}, "mlp_layers.2.weight is missing"),
        ({"encoder_conv_mlp_layers": []}, "encoder_conv_mlp_layers is []"),
        ({"encoder_conv_architecture": "convnet_simple"}, "conv_head.4.weight is"),
        ({"normalize_input_keys": ["other"]}, "some observations only"),
        ({"res_w": 64}, "mlp_layers.0.weight is (16, 48) and not"),
        ({"rnn_size": 32}, "core.core.weight_ih_l0 is (48, 16) and not (96, 16)"),
        ({"obs_scale": 0.01}, "their variance is lost in float32"),
        ({"gamma": "high"}, "gamma is 'high' and not a number"),
        ({"gamma": 1.5}, "--gamma 1.5 must be between"),
        ({"exploration_loss": "curiosity"}, "curiosity"),
        ({"env": "atari_pong"}, "'atari_pong'"),
        ({"env": "doom_bottle"}, "is not one of the built-in scenarios"),
        ({"env": "doom_battle"}, "5 choices and the scenario battle 21 (3 x 3 x 2"),
        ({"env": "doom_my_way_home"}, "5 choices and the scenario my_way_home 6"),
    ],
)  # fmt: skip
def test_what_has_no_counterpart_is_refused(tmp_path, changes, words):
    source = copy("gru", tmp_path, **changes)
    with pytest.raises(UserError) as caught:
        convert.convert(source, None, tmp_path / "run")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_settings_of_another_program_are_refused(tmp_path):
    source = copy("gru", tmp_path)
    ours = imported("gru", tmp_path)[0].run / "config.json"
    shutil.copy(ours, source / "config.json")
    with pytest.raises(UserError, match="is not of Sample Factory 2"):
        convert.convert(source, "health_gathering_supreme", tmp_path / "run")


def test_a_layer_too_many_is_refused(tmp_path):
    source = copy("gru", tmp_path)
    rewrite(source, lambda model: model.update(extra=np.zeros(3, np.float32)))
    with pytest.raises(UserError, match="no counterpart of its extra"):
        convert.convert(source, None, tmp_path / "run")


OWN = """
from pathlib import Path
from jaxfactory import Scenario
cfg = Path(__file__).with_name("strafe.cfg")
strafe = Scenario(name="strafe", cfg=cfg, heads="flat", measurements="none")
"""


def test_as_many_logits_in_other_heads_are_refused(tmp_path, capsys):
    # One head of 5 there, 3 x 2 here: as many logits.
    run = tmp_path / "run"
    other = ("--scenario", "defend_the_center")
    error = refused(capsys, EXPERIMENTS / "gru", "--run", run, *other)
    assert "trained on 'doom_health_gathering_supreme'" in error
    assert "action heads 5, and the scenario defend_the_center has 3 x 2" in error
    assert not run.exists()
    # Of an environment that is not in the table, or is not as ours, nothing is known.
    for env in ("doom_of_my_own", "doom_basic"):
        source = copy("gru", tmp_path / env, env=env)
        found = convert.convert(source, "defend_the_center", tmp_path / env / "r")
        assert found.notes == []


def test_heads_that_press_other_buttons_are_told(tmp_path):
    buttons = "available_buttons = { MOVE_LEFT MOVE_RIGHT TURN_LEFT ATTACK }\n"
    cfg = tmp_path / "strafe.cfg"
    cfg.write_text(f"doom_scenario_path = basic.wad\n{buttons}")
    (tmp_path / "own.py").write_text(OWN)
    run, name = tmp_path / "run", f"{tmp_path / 'own.py'}:strafe"
    found = convert.convert(EXPERIMENTS / "gru", name, run)
    assert found.notes == [
        "the agent was trained on 'doom_health_gathering_supreme', where its actions "
        f"press other buttons than in {name}"
    ]
    # The same buttons under another scenario's name are no matter.
    again = convert.convert(EXPERIMENTS / "gru", "health_gathering", tmp_path / "again")
    assert again.notes == []


def test_other_measurements_than_the_scenario_has_are_refused(tmp_path):
    source = copy("measurements", tmp_path, env="doom_of_my_own")
    cfg = tmp_path / "blind.cfg"
    battle = scenario_table.find("battle").load()
    cfg.write_text(
        f"doom_scenario_path = {battle.path.with_name('basic.wad')}\n"
        f"available_buttons = {{ {' '.join(battle.buttons)} }}\n"
    )
    (tmp_path / "own.py").write_text(BLIND)
    name = f"{tmp_path / 'own.py'}:blind"
    with pytest.raises(UserError, match="reads 23 measurements and the scenario"):
        convert.convert(source, name, tmp_path / "run")
    assert not (tmp_path / "run").exists()


BLIND = """
from pathlib import Path
from jaxfactory import Scenario
from jaxfactory.scenarios import scenario_table
cfg = Path(__file__).with_name("blind.cfg")
heads = scenario_table.find("battle").heads
blind = Scenario(name="blind", cfg=cfg, heads=heads, measurements="none")
"""


def refused(capsys, *args):
    assert main.main(["import-sample-factory", *map(str, args)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("jaxfactory: ")
    assert captured.err.count("\n") == 1
    return captured.err


def test_mistakes_are_one_sentence(tmp_path, capsys):
    run = tmp_path / "run"
    assert "lacks experiment; see" in refused(capsys)
    gone = refused(capsys, tmp_path / "nowhere", "--run", run)
    assert "no file or directory" in gone
    assert "no checkpoint_p0/*.pth" in refused(capsys, tmp_path, "--run", run)
    alone = tmp_path / "alone.pth"
    alone.write_bytes(b"PK\x03\x04")
    assert "no config.json beside" in refused(capsys, alone, "--run", run)
    source = copy("gru", tmp_path)
    wrong = refused(capsys, source, "--run", run, "--scenario", "my_way_home")
    assert "name the scenario that the agent was trained on" in wrong
    (source / "checkpoint_p0" / "best_000000009_1.pth").write_bytes(b"PK\x03\x04half")
    assert "damaged or cut short" in refused(capsys, source, "--run", run)
    full = refused(capsys, EXPERIMENTS / "gru", "--run", source)
    assert "is not empty" in full
    assert not runs.is_run(run)
    assert not run.exists()
