"""Run directories that a stranger made to do harm: refused with one error message.

`sample_factory/test_hostile_files` has PyTorch's files.
"""

import contextlib
import json
import os
import re

import pytest
from hostile_runs import (
    CONFIG,
    EVALUATION,
    checkpoint,
    host_with,
    make_run,
    pack,
    packed_files,
    sentence,
    shown_run,
)

from jaxfactory._util import plain_files
from jaxfactory.checkpoints import export
from jaxfactory.checkpoints.manager import Checkpointer
from jaxfactory.cli import main
from jaxfactory.config.train import Config, EnvConfig, NetworkConfig
from jaxfactory.evaluation import evaluation_file
from jaxfactory.evaluation.evaluate import _print_table
from jaxfactory.hub import model_card
from jaxfactory.report import run_data
from jaxfactory.sample_factory import convert, torch_file


@pytest.mark.parametrize(
    "make",
    [os.mkfifo, os.mkdir, lambda path: path.symlink_to("/dev/zero")],
    ids=["fifo", "directory", "device"],
)
def test_what_is_no_file_is_not_waited_for(tmp_path, make):
    for name in ("config.json", "metrics.jsonl", "evaluation.json"):
        run = shown_run(tmp_path / name.partition(".")[0])
        (run / name).unlink()
        make(run / name)
        if name == "evaluation.json":
            assert name in sentence(evaluation_file.read, run / name, "again")
            continue
        assert name in sentence(run_data.read, run)
    make(tmp_path / "x.pth")
    assert "x.pth" in sentence(torch_file.load, tmp_path / "x.pth")
    for name in packed_files():
        folder = pack(tmp_path / f"without {name}")
        (folder / name).unlink()
        make(folder / name)
        if name != export.OPTIMIZER:
            assert name in sentence(export.unpack, folder, tmp_path / "unpacked")
    experiment = tmp_path / "experiment"
    experiment.mkdir()
    make(experiment / "config.json")
    sentence(convert.convert, experiment, None, tmp_path / "made")


def test_a_sentence_cannot_control_the_terminal(tmp_path, capsys):
    run = make_run(tmp_path / "a\x1b]0;owned\x07\u202eb")
    (run / "config.json").write_text("{")
    assert main.main(["report", str(run)]) == 2
    said = capsys.readouterr().err
    assert "\\x1b]0;owned\\x07\\u202eb" in said
    assert said.strip().isprintable()
    assert plain_files.printable("gr\u00fcn\u3000\u2713") == "gr\u00fcn\u3000\u2713"


def test_a_table_shows_a_scenario_as_it_is_called(capsys):
    _print_table({**EVALUATION, "scenario": "[bold]a[/nothing]"})
    assert "[bold]a[/nothing]" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("scenario", "encoder"),
    [
        ("x`](http://evil)<img src=x onerror=a>:NAME", "conv"),
        ("basic", "<script>`|.py:X"),
        ("scenario/a|b<script>.cfg", "conv"),
        ("gymnasium:<script>alert(1)</script>", "conv"),
    ],
)
def test_a_card_holds_no_markup_of_the_runs(scenario, encoder):
    config = Config(
        env=EnvConfig(scenario=scenario), network=NetworkConfig(encoder=encoder)
    )
    card = model_card.make_card("a/b", config, EVALUATION, optimizer=True, video=True)
    assert not re.search(r"<script|<img|\]\(http", card)
    assert "`](" not in card
    assert card.count("\n---\n") == 1


HOST = json.dumps(host_with(leaves={"a": "float32[9999999999]"}))
CONFIGS = ("[" * 100_000, '{"env": {"num_envs": 64.0}}', '{"mode": "rsync"}', "\ud800")
GIVEN = [
    *((command, "config.json", content)
      for command in ("report", "evaluate", "push", "train") for content in CONFIGS),
    *((command, "evaluation.json", content)
      for command in ("push",)
      for content in ("[" * 100_000, json.dumps({**EVALUATION, "each": [1]}))),
    ("evaluate", "host.json", HOST), ("train", "host.json", "[" * 100_000),
]  # fmt: skip


@pytest.mark.parametrize(("command", "file", "content"), GIVEN, ids=range(len(GIVEN)))
def test_a_directory_that_was_handed_over(tmp_path, command, file, content, capsys):
    run = shown_run(tmp_path / "run")
    place = checkpoint(run) / file if file == "host.json" else run / file
    place.write_text(content, errors="surrogatepass")
    flags = {
        "report": [run], "evaluate": ["--run", run, "--num-envs", "2"],
        "push": [run, "ada/doom"], "train": ["--run", run],
    }[command]  # fmt: skip
    with contextlib.ExitStack() as stack:
        if (command, file) == ("train", "host.json"):  # It looks for an older one.
            stack.enter_context(pytest.warns(UserWarning, match="nested too deeply"))
        code = main.main([command, *map(str, flags)])
    said = capsys.readouterr().err
    assert code == 2
    assert said.count("\n") == 1
    assert said.startswith("jaxfactory: ")
    assert "Traceback" not in said


def test_links_in_a_directory_that_was_handed_over(tmp_path):
    mine = tmp_path / "mine"
    mine.write_text("precious")
    run = make_run(tmp_path / "run")
    for name in (".lock", ".config.json.unfinished"):
        (run / name).unlink(missing_ok=True)
        (run / name).symlink_to(mine)
    with Checkpointer(run, CONFIG):
        pass
    assert mine.read_text() == "precious"
