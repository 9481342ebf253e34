"""The command line: commands, flags, exit codes and error messages."""

import contextlib
import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from places import ROOT

from jaxfactory._util import jax_setup
from jaxfactory._util.errors import UserError
from jaxfactory._util.signals import TrainingInterrupted, catch_interrupts
from jaxfactory.cli import commands, main, train_command
from jaxfactory.config import runs
from jaxfactory.config.presets import PRESETS
from jaxfactory.config.train import Config, EnvConfig, PPOConfig
from jaxfactory.scenarios import scenario_table
from jaxfactory.training import options as train_options


@pytest.fixture(autouse=True)
def in_an_empty_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def refused(capsys, *args):
    """Run the command line, which must refuse; return its one sentence."""
    assert main.main(args) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("jaxfactory: ")
    assert captured.err.count("\n") == 1
    return captured.err


def test_version(capsys):
    assert main.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("jaxfactory ")


@pytest.mark.parametrize("args", [[], ["--help"], ["-h"]])
def test_help_lists_the_commands(capsys, args):
    assert main.main(args) == 0
    out = capsys.readouterr().out
    assert all(word in out for word in ("train", "evaluate", "scenarios"))


@pytest.mark.parametrize(
    "command", ["train", "evaluate", "scenarios", "report", "sweep"]
)
def test_help_of_a_command(capsys, command):
    with pytest.raises(SystemExit) as stop:
        main.main([command, "--help"])
    assert stop.value.code == 0
    assert f"jaxfactory {command}" in capsys.readouterr().out


def test_train_help_is_flat_and_grouped(capsys):
    with pytest.raises(SystemExit):
        main.main(["train", "--help"])
    out = capsys.readouterr().out
    for flag in ("--scenario", "--total-frames", "--run", "--preset", "--serial"):
        assert flag in out
    for group in ("env options", "network options", "ppo options"):
        assert group in out


def test_help_does_not_start_jax():
    program = (
        "import sys, contextlib\n"
        "from jaxfactory.cli import main as cli\n"
        "with contextlib.suppress(SystemExit): cli.main(['train', '--help'])\n"
        "assert cli.main(['train', '--total-frames', '0']) == 2\n"
        "heavy = {'jax', 'flax', 'optax', 'orbax'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    path = str(ROOT)
    environment = {**os.environ, "PYTHONPATH": path}
    subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        check=True,
        stdout=subprocess.DEVNULL,
    )


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["trian"], "did you mean 'train'?"),
        (["--verzion"], "did you mean '--version'?"),
        (["xyzzy"], "see `jaxfactory --help`"),
        (["train", "--num-envz", "3"], "did you mean '--num-envs'?"),
        (["train", "--qqqqqqqq"], "see `jaxfactory train --help`"),
        (["train", "basic"], "only after a flag; a scenario is named with --scenario"),
        (["evaluate", "runs/a"], "a run is named with --run"),
        (["train", "--preset", "refrence"], "did you mean 'reference'?"),
        (["train", "--preset=zzz"], "there are default, short_horizon, reference"),
        (["train", "--scenario", "health_gathering_suprem"], "did you mean health_"),
        (["train", "--scenario", "nowhere.cfg"], "no scenario file nowhere.cfg"),
        (["train", "--total-frames", "0"], "--total-frames 0 must be greater than 0"),
        (["train", "--total-frames", "-5"], "--total-frames -5 must be"),
        (["train", "--total-frames", "abc"], "--total-frames: not a whole number"),
        (["train", "--num-envs", "0"], "--num-envs 0"),
        (["train", "--num-envs=30"], "--num-minibatches 4"),
        (["train", "--ent-coef", "much"], "--ent-coef: not a number: 'much'"),
        (["train", "--timeout", "abc"], "--timeout: not a whole number: 'abc'\n"),
        (["train", "--env", "CartPole-v1"], "write gymnasium:CartPole-v1"),
        (["train", "--learning-rate", "nan"], "--learning-rate nan must be"),
        (["train", "--learning-rate", "inf"], "--learning-rate inf must be"),
        (["train", "--checkpoint-minutes", "nan"], "--checkpoint-minutes nan must be"),
        (["train", "--vf-coef", "-1"], "--vf-coef -1.0 must be between 0 and"),
        (["train", "--ent-coef", "nan"], "--ent-coef nan must be between"),
        (["train", "--conv-channels", "4", "0", "4"], "--conv-channels 4 0 4 must be"),
        (["train", "--conv-strides", "0", "1", "1"], "--conv-strides 0 1 1 must be"),
        (["train", "--conv-kernels", "8", "-4", "3"], "--conv-kernels 8 -4 3 must be"),
        (["train", "--measurements-sizes", "0"], "--measurements-sizes 0 must be"),
        (["train", "--decoder-sizes", "8", "-1"], "--decoder-sizes 8 -1 must be"),
        (["train", "--core", "rnn"], "'gru', 'mingru', 'lstm', 'none'"),
        (["train", "--run"], "a value is missing after '--run'"),
        (["train", "extra"], "extra"),
        (["evaluate", "--episodes", "0"], "--episodes 0"),
        (["evaluate"], "no run with a checkpoint under runs"),
        (["evaluate", "--run", "nowhere"], "nowhere is not a directory"),
        (["evaluate", "--checkpoint", "worst"], "must be best, latest, or the frames"),
        (["scenarios", "--all"], "no flag '--all'"),
        (["push"], "push lacks RUN and user/repo; see `jaxfactory push --help`"),
        (["push", "--run", "x"], "push has no flag '--run'"),
        (["push", "nowhere", "ada/doom"], "nowhere is not a directory"),
        (["pull"], "pull lacks user/repo"),
        (["pull", "a/b/c"], "'a/b/c' is not a repository name"),
        (["evaluate", "--private"], "--private needs --push-to-hub user/repo"),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_code_2(capsys, args, words):
    assert words in refused(capsys, *args)
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_closes_what_is_open(monkeypatch, capsys, signum):
    closed = []

    def dispatch(args: list[str]) -> int:
        with contextlib.closing(SimpleNamespace(close=lambda: closed.append(1))):
            os.kill(os.getpid(), signum)
            time.sleep(5)
        return 0

    monkeypatch.setattr(main, "_dispatch", dispatch)
    before = signal.signal(signum, signal.SIG_DFL)
    try:
        assert main.main(["evaluate"]) == 128 + signum
        assert signal.getsignal(signum) is signal.SIG_DFL
    finally:
        signal.signal(signum, before)
    assert closed == [1]
    error = capsys.readouterr().err
    assert error == f"jaxfactory: stopped by {signal.Signals(signum).name}\n"


def test_a_signal_that_is_ignored_stays_so(monkeypatch):
    # As under nohup.
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    raised = lambda args: os.kill(os.getpid(), signal.SIGHUP) or 0  # noqa: E731
    monkeypatch.setattr(main, "_dispatch", raised)
    try:
        assert main.main(["evaluate"]) == 0
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_what_is_wrong_with_the_disk_is_a_sentence(monkeypatch, capsys):
    def dispatch(args: list[str]) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "runs/a/metrics.jsonl")

    monkeypatch.setattr(main, "_dispatch", dispatch)
    assert refused(capsys, "train") == (
        "jaxfactory: runs/a/metrics.jsonl cannot be read or written (No space left on "
        "device); free disk space, change the permissions, or use another path\n"
    )


def test_a_run_in_whose_place_something_else_lies(capsys):
    runs.open_run(Path("run"), Config(env=EnvConfig(scenario="basic")))
    Path("run/checkpoints").write_text("")
    error = refused(capsys, "train", "--run", "run")
    assert "run/checkpoints cannot be read or written (File exists)" in error


def test_a_bug_keeps_its_traceback(monkeypatch):
    def broken(args):
        raise ValueError("not the user's fault")

    monkeypatch.setattr(commands, "train", broken)
    with pytest.raises(ValueError, match="not the user's fault"):
        main.main(["train"])


def test_an_interrupted_training_says_how_to_go_on(monkeypatch, capsys):
    def stopped(args):
        raise TrainingInterrupted(signal.SIGTERM, Path("runs/x"))

    monkeypatch.setattr(commands, "train", stopped)
    assert main.main(["train"]) == 143
    assert "jaxfactory train --run runs/x" in capsys.readouterr().err


def test_a_second_ctrl_c_leaves_at_once(monkeypatch, capsys):
    def stopped(args):
        raise KeyboardInterrupt

    monkeypatch.setattr(commands, "train", stopped)
    assert main.main(["train"]) == 130
    assert capsys.readouterr().err == ""


def test_flags_become_settings():
    line = (
        "--scenario=basic --total-frames 5 --num-envs 8 --seed 3 --serial --run x "
        "--conv-channels 1 2 3 --no-normalize-obs"
    )
    options = train_options.parse_train(line.split())
    config = train_options.as_config(options)
    assert type(config) is Config
    assert config.env == EnvConfig(scenario="basic", num_envs=8)
    assert (config.total_frames, config.seed, config.serial) == (5, 3, True)
    assert config.network.conv_channels == (1, 2, 3)
    assert not config.ppo.normalize_obs
    assert options.run == Path("x")


@pytest.mark.parametrize(
    ("line", "preset"),
    [
        ("", "short_horizon"),
        ("--scenario health_gathering", "short_horizon"),
        ("--env=health_gathering_supreme", "short_horizon"),
        ("--scenario basic", "default"),
        ("--scenario two_colors_easy", "default"),
        ("--preset default", "default"),
        ("--preset default --scenario health_gathering", "default"),
        ("--preset short_horizon --scenario basic", "short_horizon"),
    ],
)
def test_the_scenario_decides_the_preset(line, preset):
    options = train_options.parse_train(line.split())
    assert (options.ppo, options.network, options.stagger) == (
        PRESETS[preset].ppo, PRESETS[preset].network, PRESETS[preset].stagger
    )  # fmt: skip


def test_what_a_flag_makes_impossible_is_not_taken_from_the_preset():
    options = train_options.parse_train(["--core", "none"])
    assert not options.network.core_skip
    options = train_options.parse_train(["--resume=exact", "--exact-every=100000"])
    assert (options.stagger, options.ppo.gamma) == (0, 0.97)


def test_a_preset_gives_the_defaults_and_flags_win():
    assert (
        train_options.as_config(train_options.parse_train(["--preset=reference"]))
        == (PRESETS["reference"])
    )
    options = train_options.parse_train(
        ["--preset", "reference", "--learning-rate", "0.5"]
    )
    assert options.ppo.learning_rate == 0.5
    assert options.env.num_envs == 32


def test_a_resumed_run_has_its_own_settings_and_flags_win():
    stored = Config(
        env=EnvConfig(scenario="basic", num_envs=8),
        ppo=PPOConfig(gamma=0.9, learning_rate=0.25),
        serial=True,
    )
    runs.open_run(Path("run"), stored)
    assert (
        train_options.as_config(train_options.parse_train(["--run", "run"])) == stored
    )
    options = train_options.parse_train(
        ["--run=run", "--learning-rate=0.5", "--no-serial"]
    )
    assert options.ppo == PPOConfig(gamma=0.9, learning_rate=0.5)
    assert options.env == stored.env
    assert not options.serial
    # A preset sets what it is about: 32 environments, 1e-4, but not gamma.
    options = train_options.parse_train(["--run=run", "--preset=reference"])
    assert options.env == EnvConfig(scenario="basic", num_envs=32)
    assert (options.ppo.gamma, options.ppo.learning_rate) == (0.9, 1e-4)


def test_a_finished_run_is_not_started_again(capsys):
    runs.open_run(Path("run"), Config())
    saved = Path("run") / "checkpoints" / "latest" / "000004000000"
    saved.mkdir(parents=True)
    # Without a readable checkpoint of so many frames, training resumes.
    assert not train_command._finished(Config(), Path("run"))
    episodes = {"total": 0, "rows": []}
    host = {"frames": 4_000_000, "seconds": 1.0, "best": None, "leaves": {}}
    (saved / "host.json").write_text(json.dumps({**host, "episodes": episodes}))
    assert main.main(["train", "--run", "run"]) == 0
    assert "already has 4,000,000 frames" in capsys.readouterr().out


def test_scenarios_are_listed_in_a_line_each(capsys):
    assert main.main(["scenarios"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    rows = {words[0]: words[1:] for words in lines if words}
    assert set(scenario_table.names()) <= set(rows)
    assert rows["basic"] == ["ready", "1", "agent", "image", "4"]
    assert rows["duel"] == [
        "ready",
        "2",
        "agents",
        "image",
        "+",
        "23",
        "3x3x8x2x2x2x21",
    ]


def test_a_scenario_is_described(capsys):
    assert main.main(["scenarios", "deadly_corridor", "duel_bots"]) == 0
    out = capsys.readouterr().out
    for text in ("MOVE_LEFT", "death_penalty 100", "deadly_corridor.wad (vizdoom)"):
        assert text in out
    assert "1 agent, 1 bot" in out


def test_a_scenario_that_is_not_there_is_not_described(capsys):
    assert main.main(["scenarios", "duel_bot"]) == 2
    assert "did you mean duel_bots?" in capsys.readouterr().err


def test_interrupts_are_remembered_and_the_second_raises():
    before = signal.getsignal(signal.SIGINT)
    with catch_interrupts() as interrupt:
        signal.raise_signal(signal.SIGTERM)
        assert interrupt.signum == signal.SIGTERM
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_a_signal_of_another_process_is_not_the_first_here():
    with catch_interrupts() as interrupt:
        interrupt.note(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)
        assert interrupt.signum == signal.SIGTERM
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)


def test_a_closed_terminal_may_say_so_twice():
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        with catch_interrupts() as interrupt:
            for _ in range(2):
                signal.raise_signal(signal.SIGHUP)
            assert interrupt.signum == signal.SIGHUP
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        with catch_interrupts() as interrupt:
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.fixture
def empty_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("XLA_FLAGS", "--a=1")
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "2")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(jax_setup, "_KNOWS_FLAG", {})


def test_the_flag_is_added_where_it_is_known(empty_environment, monkeypatch):
    probes = []
    monkeypatch.setattr(jax_setup, "_probe", lambda flag: probes.append(flag) or True)
    for _ in range(2):
        monkeypatch.setenv("XLA_FLAGS", "--a=1")
        jax_setup.configure_xla()
        assert os.environ["XLA_FLAGS"] == f"--a=1 {probes[0]}"
    # The second time the answer came from the cache.
    assert len(probes) == 1


def test_an_unknown_flag_is_left_out(empty_environment, monkeypatch):
    monkeypatch.setattr(jax_setup, "_probe", lambda flag: False)
    jax_setup.configure_xla()
    assert os.environ["XLA_FLAGS"] == "--a=1"


def test_the_users_own_flag_wins(empty_environment, monkeypatch):
    own = f"{jax_setup.CPU_FUSION_FLAG}=NONE"
    monkeypatch.setenv("XLA_FLAGS", own)
    jax_setup.configure_xla()
    assert os.environ["XLA_FLAGS"] == own


@pytest.mark.slow
def test_the_probe_tells_known_from_unknown():
    assert not jax_setup._probe("--xla_no_such_flag=1")
    assert jax_setup._probe("--xla_cpu_enable_fast_math=false")


def test_an_unwritable_place_is_a_sentence(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="cannot be written"):
        runs.open_run(tmp_path / "file" / "run", Config())
