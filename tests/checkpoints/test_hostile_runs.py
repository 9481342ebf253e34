"""Runs and settings that a stranger made to do harm: each is refused in one sentence.

`test_hostile_files` has PyTorch's files.
"""

import contextlib
import json
import math
import os
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from hostile_runs import (
    CONFIG,
    EVALUATION,
    FRAMES,
    METRICS,
    SUMMARY,
    checkpoint,
    make_run,
    pack,
    packed_files,
    sentence,
)
from safetensors.numpy import load, save

from jaxfactory._util import plain_files, plain_json
from jaxfactory.checkpoints import checkpoint_files, export, tensor_file
from jaxfactory.checkpoints.manager import Checkpointer
from jaxfactory.cli import main
from jaxfactory.config import runs
from jaxfactory.config.train import (
    Config,
    EnvConfig,
    EvaluateOptions,
    NetworkConfig,
    PPOConfig,
    from_dict,
    to_dict,
)
from jaxfactory.evaluation import evaluation_file
from jaxfactory.evaluation.evaluate import Evaluation, _print_table, score
from jaxfactory.hub import model_card
from jaxfactory.report import report, run_data
from jaxfactory.rollout.sampler import Episode
from jaxfactory.sample_factory import convert, torch_file


DATA = Path(__file__).parents[1] / "data" / "sample_factory"


# What is no regular file.


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


def shown_run(path, metrics=(METRICS,), **changes):
    """Make a run with metrics and an evaluation."""
    run = make_run(path)
    lines = (row if isinstance(row, str) else json.dumps(row) for row in metrics)
    (run / "metrics.jsonl").write_text("".join(f"{line}\n" for line in lines))
    (run / "evaluation.json").write_text(json.dumps({**EVALUATION, **changes}))
    return run


# JSON.


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"[" * 100_000, "nested too deeply"),
        (b"[" * 40 + b"]" * 40, "nested too deeply"),
        (b'{"a":' * 100_000, "nested too deeply"),
        (b'{"env": "\xff\xfe"}', "not UTF-8 text (byte 9)"),
        (b'{"seed": 1, "seed": 2}', "'seed' is there twice"),
        (b'{"seed": ' + b"9" * 5000 + b"}", "a number of 5000 digits"),
        (b'{"a": NaN}', "NaN, which is not a number"),
        (b'{"a": -Infinity}', "-Infinity, which is not"),
        (b" " * (2**20 + 1), "larger than 1 MiB"),
        (b"[1]", "not a JSON object"),
        (b"", "Expecting value"),
    ],
    ids=range(11),
)
def test_json_that_is_a_trap(tmp_path, data, words):
    run = make_run(tmp_path / "run")
    (run / "config.json").write_bytes(data)
    assert words in sentence(runs.load_config, run)
    folder = tmp_path / "sample factory"
    (folder / "checkpoint_p0").mkdir(parents=True)
    (folder / "checkpoint_p0" / "checkpoint_1.pth").touch()
    (folder / "cfg.json").write_bytes(data)
    assert words in sentence(convert.convert, folder, None, tmp_path / "made")
    # These may be larger.
    if b"[1]" not in data and b" " * 9 not in data:
        run = shown_run(tmp_path / "shown")
        (run / "evaluation.json").write_bytes(data)
        assert words in sentence(evaluation_file.read, run / "evaluation.json", "")


def test_json_of_too_many_items():
    with pytest.raises(ValueError, match="more than 3,000,000 items"):
        plain_json.loads(b"[" + b"[]," * 1_600_000 + b"[]]")


def test_json_of_an_editor_with_a_byte_order_mark(tmp_path):
    run = make_run(tmp_path / "run")
    file = run / "config.json"
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    assert runs.load_config(run) == CONFIG


# Settings.


@pytest.mark.parametrize(
    ("section", "name", "value", "words"),
    [
        ("env", "num_envs", 64.0, "env.num_envs is 64.0 and must be a whole number"),
        ("env", "num_envs", "64", "env.num_envs is '64' and must be a whole number"),
        ("env", "num_envs", True, "env.num_envs is True and must be a whole number"),
        ("env", "num_envs", 2 * 10**9, "--num-envs 2000000000 must be at most 65,536"),
        ("env", "num_envs", None, "env.num_envs is None and"),
        ("env", "num_groups", 2 * 10**9, "--num-groups 2000000000 must be at most"),
        ("env", "num_workers", 10**6, "--num-workers 1000000 must be at most 4,096"),
        ("env", "frame_skip", 10**6, "--frame-skip 1000000 must be at most 1,024"),
        ("env", "timeout", 10**12, "--timeout 1000000000000 must be at most"),
        ("env", "timeout", "x", "must be a whole number or null"),
        ("env", "num_agents", 10**6, "--num-agents 1000000 must be"),
        ("env", "num_bots", 10**6, "--num-bots 1000000 must be"),
        ("env", "tics", "some", "env.tics is 'some' and must be one of 'exact', "),
        ("env", "scenario", "a\nb", "must be a text without control characters"),
        ("env", "scenario", "\x1b[2Jbasic", "must be a text without control"),
        ("env", "scenario", "basic\u202ecfg", "must be a text without control"),
        ("env", "scenario", "\ud800", "must be a text without control characters"),
        ("env", "scenario", "x" * 5000, "must be a text of at most 4096 characters"),
        ("env", "scenario", ["basic"], "env.scenario is ['basic'] and must be a text"),
        ("env", "wide", 1, "env.wide is 1 and must be true or false"),
        ("ppo", "learning_rate", float("nan"), "must be a finite number"),
        ("ppo", "learning_rate", 1e300, "must be a number of at most 3e+38"),
        ("ppo", "learning_rate", True, "must be a finite number"),
        ("ppo", "learning_rate", "1e-3", "must be a finite number"),
        ("ppo", "num_steps", 2**40, "--num-steps 1099511627776 must be at most"),
        ("ppo", "num_epochs", 10**9, "--num-epochs 1000000000 must be"),
        ("ppo", "advantages", "best", "ppo.advantages is 'best' and must be one of"),
        ("network", "conv_channels", [32, "64", 64], "must be a list, each entry a"),
        ("network", "conv_channels", [[1], [2], [3]], "each entry a whole number"),
        ("network", "conv_channels", 3, "must be a list of at most 1024 entries"),
        ("network", "conv_channels", [10**9] * 3, "must be at most 4,096"),
        ("network", "conv_kernels", [10**9] * 3, "must be at most 256"),
        ("network", "decoder_sizes", [8] * 100, "has 100 entries and may have 64"),
        ("network", "hidden_size", 10**9, "--hidden-size 1000000000 must be at most"),
        ("network", "core", "rnn", "network.core is 'rnn' and must be one of"),
        ("watch", "wandb_entity", 3, "must be a text or null"),
        ("watch", "evaluate_every", 2**60, "--evaluate-every 1152921504606846976 must"),
        ("", "mode", "rsync", "mode is 'rsync' and must be one of 'sync', 'async'"),
        ("", "total_frames", 2**60, "--total-frames 1152921504606846976 must be at"),
        ("", "total_frames", 1e6, "total_frames is 1000000.0 and must be a whole"),
        ("", "checkpoint_minutes", 1e300, "must be a number of at most"),
        ("", "max_policy_lag", 10**6, "--max-policy-lag 1000000 must be at most 100"),
        ("", "env", [1], "env is [1] and must be an object with settings"),
        ("", "wrap", 1, "there is no setting 'wrap' in this version"),
        ("env", "num_env", 1, "no setting env.'num_env' in this version; did you mean"),
    ],
)
def test_a_setting_of_another_type_or_size(tmp_path, section, name, value, words):
    data = json.loads(json.dumps(to_dict(Config())))
    (data[section] if section else data)[name] = value
    assert words in sentence(from_dict, data)
    run = make_run(tmp_path / "run")
    text = json.dumps(data)
    if "NaN" in text:
        words = "NaN"
    (run / "config.json").write_text(text)
    assert words in sentence(runs.load_config, run)
    assert f"{run / 'config.json'} cannot be read" in sentence(runs.load_config, run)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--num-envs", "2000000000"], "--num-envs 2000000000 must be at most 65,536"),
        (["--timeout", "1000000000000"], "--timeout 1000000000000 must be at most"),
        (["--hidden-size", "99999999"], "--hidden-size 99999999 must be at most"),
        (["--learning-rate", "nan"], "--learning-rate nan"),
        (["--total-frames", str(2**60)], "must be at most 9,007,199,254,740,992"),
    ],
)
def test_the_same_bounds_on_the_command_line(flags, words, capsys):
    assert main.main(["train", *flags]) == 2
    assert words in capsys.readouterr().err


def test_a_value_that_json_can_write_and_a_float_setting_that_is_whole():
    data = to_dict(Config())
    data["ppo"]["max_grad_norm"] = 4
    data["env"]["timeout"] = 100
    config = from_dict(data)
    assert config == Config(
        env=EnvConfig(timeout=100), ppo=PPOConfig(), network=NetworkConfig()
    )
    assert type(config.ppo.max_grad_norm) is float


# Checkpoints that are published or given.


def host_with(**changes):
    host = json.loads(packed_files()[export.HOST])
    return {**host, **changes}


EPISODES = {"total": 5, "rows": [[1.0, 1.0, 3.0]]}
HOSTS = [
    ({"frames": -1}, "its frames is -1"),
    ({"frames": True}, "its frames is True"),
    ({"frames": "5"}, "its frames is '5'"),
    ({"frames": 2**60}, "its frames is 1152921504606846976"),
    ({"frames": 5.0}, "its frames is 5.0"),
    ({"frames": float("nan")}, "its frames is nan"),
    ({"seconds": float("nan")}, "its seconds is nan"),
    ({"seconds": "long"}, "its seconds is 'long'"),
    ({"seconds": None}, "its seconds is None"),
    ({"best": "high"}, "its best is 'high'"),
    ({"best": [1]}, "its best is [1]"),
    ({"best": float("inf")}, "its best is inf"),
    ({"best_by": "me"}, "its best_by is 'me'"),
    ({"episodes": None}, "its episodes is None"),
    ({"episodes": {**EPISODES, "total": -1}}, "its episodes is {"),
    ({"episodes": {**EPISODES, "rows": [[1.0]]}}, "its episodes is {"),
    ({"episodes": {**EPISODES, "rows": [["a", 1.0, 1.0]]}}, "its episodes is {"),
    ({"episodes": {**EPISODES, "rows": [[1.0] * 3] * 20_000}}, "its episodes is {"),
    ({"leaves": []}, "its leaves are not"),
    ({"leaves": {"a": 3}}, "its leaf a is 3"),
    ({"leaves": {"a": "object[3]"}}, "its leaf a is 'object[3]'"),
    ({"leaves": {"a": "float32[-3]"}}, "its leaf a is 'float32[-3]'"),
    ({"leaves": {"a": "float32[1e9]"}}, "its leaf a is 'float32[1e9]'"),
    ({"leaves": {"a": "float32[" + "9" * 5000 + "]"}}, "its leaf a is 'float32[999"),
    ({"leaves": {"a": "float32[9999999999]"}}, "GiB together"),
    ({"leaves": {"a": "float32[" + "9," * 40 + "9]"}}, "its leaf a is 'float32[9,9"),
    ({"leaves": {"\x1b[2J": "float32[]"}}, "odd name"),
    ({"leaves": {f"x{n}": "float32[]" for n in range(20_000)}}, "its leaves are not"),
]


@pytest.mark.parametrize(("changes", "words"), HOSTS, ids=range(len(HOSTS)))
def test_a_checkpoint_that_is_described_oddly(tmp_path, changes, words):
    text = json.dumps(host_with(**changes))
    folder = pack(tmp_path / "packed", **{export.HOST: text.encode()})
    assert words in sentence(export.unpack, folder, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    # The same in a directory that was handed over.
    run = make_run(tmp_path / "given")
    (checkpoint(run) / "host.json").write_text(text)
    with pytest.raises(ValueError, match=re.escape(words)):
        checkpoint_files.read_arrays(checkpoint(run))


@pytest.mark.parametrize("form", [True, "1", None, -0.5, [1]])
def test_a_checkpoint_of_an_odd_format(tmp_path, form):
    text = json.dumps(host_with(format=form))
    folder = pack(tmp_path / "packed", **{export.HOST: text.encode()})
    assert "has no format" in sentence(export.unpack, folder, tmp_path / "run")


@pytest.mark.parametrize(
    "leaf",
    [
        {"opt_state.0.mu.big": "float32[350000000]"},
        {"opt_state.0.mu.encoder.measurements_0.kernel": "float32[9000,9000]"},
        {"opt_state.0.mu.encoder.measurements_0.kernel": "float64[4,32]"},
        {f"opt_state.{n}.encoder.measurements_1.kernel": "float32[32,32]"
         for n in range(200)},
        {f"opt_state.{n}": "float64[16]" for n in range(5000)},
        {"opt_state.9.x": "float32[17]"},
    ],
    ids=range(6),
)  # fmt: skip
def test_missing_arrays_are_bound_by_the_models(tmp_path, leaf):
    host = host_with()
    assert "params.encoder.measurements_0.kernel" in host["leaves"]
    host["leaves"] |= leaf
    text = json.dumps(host).encode()
    without = {export.OPTIMIZER: None, export.HOST: text}
    folder = pack(tmp_path / "packed", **without)
    words = "does not hold what checkpoint.json describes (opt_state."
    assert words in sentence(export.unpack, folder, tmp_path / "run")
    # Without the odd ones they are filled with zeros.
    whole = pack(tmp_path / "whole", **{export.OPTIMIZER: None})
    assert export.unpack(whole, tmp_path / "made") == FRAMES


def header_with(**changes):
    """Return the model's file with entries of its header changed."""
    data = packed_files()[export.MODEL]
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    name = "params.encoder.measurements_0.kernel"
    header[name] = {**header[name], **changes}
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data[8 + length :]


TENSORS = [
    (b"", "cut short"),
    (b"\xff" * 8, "cut short"),
    ((2**23).to_bytes(8, "little") + b" " * 2**23, "its header has 8,388,608 bytes"),
    ((100_000).to_bytes(8, "little") + b"[" * 100_000, "nested too deeply"),
    ((4).to_bytes(8, "little") + b"null", "not a list of arrays"),
    (header_with, {"dtype": "BF16"}, "is described as"),
    (header_with, {"dtype": ["F32"]}, "is described as"),
    (header_with, {"shape": [-4, -32]}, "is described as"),
    (header_with, {"shape": [2**62, 4]}, "is described as"),
    (header_with, {"shape": [True, 128]}, "is described as"),
    (header_with, {"data_offsets": [0, 10**12]}, "is described as"),
    (header_with, {"data_offsets": [10**9, 10**9 + 512]}, "lies where it cannot"),
]


@pytest.mark.parametrize("case", TENSORS, ids=range(len(TENSORS)))
def test_arrays_that_are_described_oddly(tmp_path, case):
    *made, words = case
    data = made[0](**made[1]) if callable(made[0]) else made[0]
    folder = pack(tmp_path / "packed", **{export.MODEL: data})
    assert words in sentence(export.unpack, folder, tmp_path / "run")


def test_arrays_are_read_as_the_formats_own_library_reads_them(tmp_path):
    arrays = {
        "a": np.arange(6.0).reshape(2, 3),
        "b": np.array(True),
        "c": np.zeros((0, 3), np.int8),
        "d": np.arange(3, dtype=np.uint32),
    }
    (tmp_path / "x").write_bytes(save(arrays, metadata={"x": "y"}))
    ours, theirs = tensor_file.load(tmp_path / "x"), load((tmp_path / "x").read_bytes())
    assert ours.keys() == theirs.keys()
    for name, array in theirs.items():
        assert ours[name].dtype == array.dtype
        np.testing.assert_array_equal(ours[name], array)


def test_frames_that_are_not_the_models(tmp_path):
    text = json.dumps(host_with(frames=FRAMES + 1)).encode()
    folder = pack(tmp_path / "packed", **{export.HOST: text})
    assert "(frames)" in sentence(export.unpack, folder, tmp_path / "run")


# Evaluations and metrics.


ODD_EPISODE = Episode(*(0,) * len(Episode._fields))._replace(length=4)
EVALUATIONS = [
    {"raw_return": {**SUMMARY, "mean": None}},
    {"raw_return": {**SUMMARY, "mean": "1e9"}},
    {"raw_return": {**SUMMARY, "mean": 1e300}},
    {"raw_return": {**SUMMARY, "what": "<script>"}},
    {"raw_return": {"mean": 1.0}},
    {"length": [1, 2, 3, 4, 5]},
    {"frags": "many"},
    {"place": {**SUMMARY, "max": True}},
    {"episodes": "100</td><script>"},
    {"episodes": -3},
    {"frames_trained": 2**70 // 2**10},
    {"frames_trained": 512.0},
    {"checkpoint": "../../x"},
    {"checkpoint": "best`\n# A title\n<img src=x>"},
    {"deterministic": "yes"},
    {"seed": "; rm -rf ~"},
    {"seed": -1},
    {"num_envs": [20]},
    {"truncated": {}},
    {"date": "2026-01-02\n---\nlicense: mit"},
    {"date": "<b>2026</b>"},
    {"date": 20260102},
    {"scenario": "\x1b]0;title\x07"},
    {"scenario": None},
    {"map": "a\x1b[31mb"},
    {"map": {"a": ["b", "c\nd"]}},
    {"each": {"raw_return": 1.0}},
    {"each": [{"raw_return": 1.0}]},
    {"each": [{"raw_return": 1.0, "shaped_return": 1e300}]},
    {"each": [{"raw_return": 1.0, "shaped_return": 1.0, "place": "<script>"}]},
]


@pytest.mark.parametrize("changes", EVALUATIONS, ids=range(len(EVALUATIONS)))
def test_an_evaluation_that_is_no_score(tmp_path, changes, capsys):
    run = shown_run(tmp_path / "run", **changes)
    (name,) = changes
    words = f"evaluation.json cannot be read: its {name} is "
    assert main.main(["push", str(run), "ada/doom"]) == 2
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1
    assert said.strip().isprintable()
    # A report of several runs is without it.
    with pytest.warns(UserWarning, match=words) as caught:
        assert run_data.read(run).evaluation is None
    assert str(caught[0].message).isprintable()


def test_a_report_is_without_an_evaluation_that_cannot_be_read(tmp_path, capsys):
    run = shown_run(tmp_path / "run", raw_return={**SUMMARY, "mean": math.nan})
    with pytest.warns(UserWarning, match="holds NaN, .*the report is without it"):
        assert main.main(["report", str(run)]) == 0
    assert (run / "report.html").exists()
    # Those of the first versions list no episodes, and were never in a report.
    whole = json.loads(json.dumps(EVALUATION))
    del whole["each"]
    (run / "evaluation.json").write_text(json.dumps(whole))
    assert run_data.read(run).evaluation is None
    assert main.main(["push", str(run), "ada/doom"]) == 2
    assert "its each is None; evaluate again with" in capsys.readouterr().err


@pytest.mark.parametrize("value", [math.nan, math.inf, -1e300])
def test_a_score_that_is_no_number_is_not_written(tmp_path, monkeypatch, value):
    run = shown_run(tmp_path / "run")
    before = (run / "evaluation.json").read_bytes()
    odd = ODD_EPISODE._replace(raw_return=value)
    played = Evaluation([[ODD_EPISODE, odd]], None)
    monkeypatch.setattr(
        sys.modules[score.__module__], "play", lambda *arguments: played
    )
    options = EvaluateOptions(run=run, episodes=2, num_envs=1)
    said = sentence(score, options)
    assert f"the return of episode 1 is {value:g}, so that there is no score" in said
    assert (run / "evaluation.json").read_bytes() == before


def test_an_evaluation_of_a_later_version_is_read(tmp_path):
    run = shown_run(tmp_path / "run", later="cig.wad", more={"a": [1, None, "b"]})
    assert run_data.read(run).evaluation["later"] == "cig.wad"


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


# What is printed and published.


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


# Every command on a directory that was handed over.


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
