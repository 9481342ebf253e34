"""Settings files that a stranger made to do harm: each is refused with one message."""

import json

import pytest
from hostile_runs import CONFIG, make_run, sentence, shown_run

from jaxfactory._util import plain_json
from jaxfactory.cli import main
from jaxfactory.config import runs
from jaxfactory.config.train import (
    Config,
    EnvConfig,
    NetworkConfig,
    PPOConfig,
    from_dict,
    to_dict,
)
from jaxfactory.evaluation import evaluation_file
from jaxfactory.sample_factory import convert


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
