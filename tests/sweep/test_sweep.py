"""Sweeps: the file, the runs as processes, the batch script."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jaxfactory._util.errors import UserError
from jaxfactory.cli import main
from jaxfactory.config import runs
from jaxfactory.config.train import Config, EnvConfig, PPOConfig
from jaxfactory.sweep import sweep_file, sweep_runs


@pytest.fixture(autouse=True)
def in_an_empty_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def written(text: str, name: str = "my.toml") -> Path:
    path = Path(name)
    path.write_text(text)
    return path


GRID = """
[sweep]
command = { scenario = "basic", total_frames = 4096, serial = true }
seeds = [3, 5]
parallel = 2

[sweep.grid]
learning_rate = [1e-4, 0.5]
conv-channels = [[4, 4, 4], [8, 4, 4]]
"""


def test_a_grid_is_every_combination_with_every_seed():
    found = sweep_file.read(written(GRID))
    assert [job.name for job in found.jobs] == [
        f"learning_rate={rate},conv_channels={channels},seed={seed}"
        for rate in ("0.0001", "0.5")
        for channels in ("4-4-4", "8-4-4")
        for seed in (3, 5)
    ]
    last = found.jobs[-1]
    assert last.args == [
        "--scenario=basic", "--total-frames=4096", "--serial", "--learning-rate=0.5",
        "--conv-channels", "8", "4", "4", "--seed=5",
    ]  # fmt: skip
    assert last.config.ppo.learning_rate == 0.5
    assert last.config.network.conv_channels == (8, 4, 4)
    assert last.config.seed == 5
    assert last.run_dir == Path("runs/sweeps/my") / last.name
    assert (found.parallel, found.evaluate) == (2, 0)


def test_a_list_is_each_of_its_tables():
    found = sweep_file.read(
        written(
            "[sweep]\nseeds = 2\n[[sweep.list]]\ngamma = 0.9\n"
            "[[sweep.list]]\ncore = 'none'\nnormalize_obs = false\n"
        ),
        Path("there"),
    )
    assert [job.run_dir for job in found.jobs] == [
        Path("there") / name
        for name in (
            "gamma=0.9,seed=0", "gamma=0.9,seed=1",
            "core=none,normalize_obs=False,seed=0",
            "core=none,normalize_obs=False,seed=1",
        )
    ]  # fmt: skip
    assert "--no-normalize-obs" in found.jobs[-1].args
    assert not found.jobs[-1].config.ppo.normalize_obs


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("sweep = 3", "has no [sweep] table"),
        ("[sweep", "is not a TOML file"),
        ("[sweep]\n[other]", "'other' must be in the [sweep] table"),
        ("[sweep]\ngird = {}", "no 'gird'; did you mean 'grid'?"),
        ("[sweep]\nseeds = []", "seeds = [] must be a list of whole numbers"),
        ("[sweep]\nseeds = [1, 1]", "'seed=1' occurs twice"),
        ("[sweep]\nseeds = 0", "seeds = 0"),
        ("[sweep]\nparallel = 0", "parallel = 0 must be a whole number of at least 1"),
        ("[sweep]\nevaluate = true", "evaluate = True"),
        ("[sweep]\ngrid = {gamma = 0.9}", "gamma must be a list of values, not 0.9"),
        ("[sweep]\ngrid = {gamma = []}", "gamma must be a list of values"),
        ("[sweep]\nlist = {gamma = 0.9}", "list must be a list of tables"),
        ("[sweep]\nlist = [3]", "list must be a table of options, not 3"),
        ("[sweep]\ncommand = {run = 'x'}", "the sweep sets it for each run"),
        ("[sweep]\ncommand = {seed = 3}", "cannot have 'seed'; use seeds"),
        ("[sweep]\ncommand = {num_envs = 'auto'}", "auto would make runs that"),
        ("[sweep]\ncommand = {gama = 0.9}", "did you mean '--gamma'?"),
        ("[sweep]\ncommand = {gamma = 2}", "seed=0: --gamma 2.0 must be between"),
        ("[sweep]\ncommand = {scenario = 'basik'}", "did you mean basic?"),
        (
            "[sweep]\ncommand = {gamma = 0.9}\ngrid = {gamma = [0.8]}",
            "gamma is in both command and grid",
        ),
        (
            "[sweep]\ncommand = {env = 'basic'}\ngrid = {scenario = ['basic']}",
            "scenario is in both command and grid",
        ),
        ("[sweep]\nslurm = {time = [1]}", "slurm: time = [1] must be one value"),
    ],
)
def test_a_mistake_is_a_sentence_before_anything_starts(text, words, capsys):
    assert main.main(["sweep", str(written(text))]) == 2
    error = capsys.readouterr().err
    assert words.lower() in error.lower()
    assert error.count("\n") == 1
    assert [path.name for path in Path().iterdir()] == ["my.toml"]


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ([], "sweep needs a file"),
        (["nowhere.toml"], "nowhere.toml cannot be read: No such file"),
        (["my.toml", "--parallel", "0"], "--parallel 0 must be 1 or more"),
    ],
)
def test_a_mistake_on_the_command_line_is_a_sentence(args, words, capsys):
    written("[sweep]")
    assert main.main(["sweep", *args]) == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize("more", [[], ["--slurm"]])
def test_a_folder_that_cannot_be_written_is_a_sentence(more, capsys):
    path = str(written("[sweep]\ncommand = { scenario = 'basic' }"))
    assert main.main(["sweep", path, "--output", "my.toml/below", *more]) == 2
    error = capsys.readouterr().err
    assert "folder my.toml/below cannot be written (Not a directory)" in error
    assert error.count("\n") == 1


def test_a_run_of_other_settings_is_not_gone_on_with():
    path = written("[sweep]\ncommand = { scenario = 'basic', gamma = 0.9 }")
    run_dir = Path("runs/sweeps/my/seed=0")
    runs.open_run(run_dir, Config(env=EnvConfig(scenario="basic")))
    with pytest.raises(UserError, match=r"has gamma 0\.99 and the sweep has gamma 0"):
        sweep_file.read(path)
    # More frames, or saving more often, only goes on.
    stored = Config(env=EnvConfig(scenario="basic"), ppo=PPOConfig(gamma=0.9))
    runs.open_run(run_dir, Config(**{**vars(stored), "total_frames": 5}))
    assert sweep_file.read(path).jobs[0].config.total_frames == 4_000_000


def test_a_dry_run_lists_the_runs(capsys):
    assert main.main(["sweep", str(written(GRID)), "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("8 runs in runs/sweeps/my, 2 in parallel")
    assert out.count("jaxfactory train --scenario=basic") == 8
    assert [path.name for path in Path().iterdir()] == ["my.toml"]


def test_the_batch_script_runs_each_task(capsys, tmp_path):
    text = GRID + '\n[sweep.slurm]\ncpus_per_task = 4\ntime = "1:00:00"\n'
    text = text.replace("parallel = 2", "parallel = 2\nevaluate = 7")
    assert main.main(["sweep", str(written(text)), "--slurm"]) == 0
    script = Path("runs/sweeps/my/sweep.sbatch")
    assert f"sbatch {script}" in capsys.readouterr().out
    lines = script.read_text().splitlines()
    for line in ("#SBATCH --array=0-7%2", "#SBATCH --cpus-per-task=4",
                 "#SBATCH --time=1:00:00", "#SBATCH --signal=B:TERM@120"):  # fmt: skip
        assert line in lines
    # A python that tells what it was called with, and fails where it is told to.
    fake = tmp_path / "python"
    fake.write_text('#!/bin/sh\necho "$PWD $@"\nexit ${CODE:-0}\n')
    fake.chmod(0o755)

    def task(index: int, **variables: str) -> subprocess.CompletedProcess:
        environment = {**os.environ, "SLURM_ARRAY_TASK_ID": str(index), **variables}
        environment["JAXFACTORY_PYTHON"] = str(fake)
        return subprocess.run(
            ["bash", str(script)],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    name = "learning_rate=0.0001,conv_channels=8-4-4,seed=3"
    run_flag = f"--run={tmp_path}/runs/sweeps/my/{name}"
    done = task(2)
    assert done.returncode == 0
    assert done.stdout.splitlines() == [
        f"{tmp_path} -m jaxfactory train --scenario=basic --total-frames=4096 --serial "
        f"--learning-rate=0.0001 --conv-channels 8 4 4 --seed=3 {run_flag}",
        f"{tmp_path} -m jaxfactory evaluate {run_flag} --episodes=7",
    ]
    failed = task(2, CODE="3")
    assert failed.returncode == 3
    assert len(failed.stdout.splitlines()) == 1
    assert task(8).returncode == 2


def test_a_share_of_the_cores(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 2, 4, 6, 8})
    assert [sweep_runs.share_of_cores(slot, 2) for slot in (0, 1)] == [
        {0, 2},
        {4, 6, 8},
    ]
    assert sweep_runs.share_of_cores(0, 1) == set()
    assert sweep_runs.share_of_cores(5, 6) == set()


TINY = """
[sweep]
seeds = 2
parallel = 2
evaluate = 1
[sweep.command]
scenario = "basic"
num_envs = 4
num_steps = 8
num_minibatches = 2
conv_channels = [4, 4, 4]
hidden_size = 16
core_size = 16
total_frames = {frames}
checkpoint_minutes = 0.001
"""


def start() -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "jaxfactory", "sweep", "my.toml"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )


def trainings(folder: Path) -> list[int]:
    """Return the processes that were started in a folder, but for this one."""
    found = []
    for link in Path("/proc").glob("[0-9]*/cwd"):
        try:
            inside = link.readlink().is_relative_to(folder)
        except OSError:
            continue
        if inside and int(link.parent.name) != os.getpid():
            found.append(int(link.parent.name))
    return found


@pytest.mark.slow
@pytest.mark.vizdoom
def test_a_sweep_is_stopped_and_goes_on(tmp_path):
    written(TINY.replace("{frames}", "100000000"))
    process = start()
    logs = [Path(f"runs/sweeps/my/seed={seed}") / runs.METRICS for seed in (0, 1)]
    deadline = time.monotonic() + 200
    while not all(log.is_file() and log.stat().st_size for log in logs):
        assert process.poll() is None, process.stdout.read()
        assert time.monotonic() < deadline
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    output = process.communicate(timeout=100)[0]
    assert process.returncode == 130, output
    assert "0 of 2 runs are finished" in output
    assert "resume with: jaxfactory sweep my.toml" in output
    assert "Traceback" not in output
    assert not trainings(tmp_path)
    saved = [runs.checkpoint_dirs(log.parent, "latest")[-1].name for log in logs]
    # Fewer frames than are there for one of them: it is finished, and the other one,
    # which is damaged, fails without harm to it.
    written(TINY.replace("{frames}", saved[0].lstrip("0")))
    first, *others = runs.checkpoint_dirs(logs[1].parent, "latest")
    for path in others:
        shutil.rmtree(path)
    (first / "host.json").write_text("{}")
    first.rename(first.with_name("000000000001"))
    process = start()
    output = process.communicate(timeout=200)[0]
    assert process.returncode == 1, output
    assert "finished seed=0" in output
    assert re.search(r"failed: seed=1 \(exit code \d+\): .*see .*seed=1\.log", output)
    assert "1 of 2 runs failed" in output
    assert (logs[0].parent / runs.EVALUATION).is_file()
    page = Path("runs/sweeps/my/report.html").read_text()
    assert "<h1>my</h1>" in page
    assert not trainings(tmp_path)


CARTPOLE = """
[sweep]
seeds = 2
parallel = 2
[sweep.command]
env = "gymnasium:CartPole-v1"
num_envs = 4
num_steps = 8
num_minibatches = 2
measurements_sizes = [8]
total_frames = {frames}
"""


def test_a_killed_sweep_leaves_no_run_behind(tmp_path):
    written(CARTPOLE.replace("{frames}", "100000000"))
    with start() as process:
        folders = [Path(f"runs/sweeps/my/seed={seed}") for seed in (0, 1)]
        logs = [folder / runs.METRICS for folder in folders]
        deadline = time.monotonic() + 100
        while not all(log.is_file() and log.stat().st_size for log in logs):
            assert process.poll() is None, process.stdout.read()
            assert time.monotonic() < deadline
            time.sleep(0.1)
        process.kill()
    deadline = time.monotonic() + 30
    while trainings(tmp_path):
        assert time.monotonic() < deadline, trainings(tmp_path)
        time.sleep(0.1)
    # They were told to leave, and saved; nothing was cut off.
    for folder, log in zip(folders, logs):
        played = json.loads(log.read_text().splitlines()[-1])["frames"]
        assert int(runs.checkpoint_dirs(folder, "latest")[-1].name) == played


@pytest.mark.slow
def test_a_sweep_over_one_of_gymnasiums_environments(capsys):
    text = CARTPOLE.replace("seeds = 2", "evaluate = 2").replace("{frames}", "64")
    written(text + "[sweep.grid]\nlearning_rate = [1e-3, 1e-2]\n")
    assert main.main(["sweep", "my.toml"]) == 0
    out = capsys.readouterr().out
    page = Path("runs/sweeps/my/report.html")
    assert f"report: {page}" in out
    for rate in ("0.001", "0.01"):
        run = Path(f"runs/sweeps/my/learning_rate={rate},seed=0")
        assert runs.load_config(run).ppo.learning_rate == float(rate)
        score = json.loads((run / runs.EVALUATION).read_text())
        assert score["scenario"] == "gymnasium:CartPole-v1"
        # CartPole pays 1 a step.
        assert score["raw_return"]["mean"] == score["length"]["mean"] >= 8
        assert f"learning-rate {rate}" in page.read_text()
    # All is done: nothing is played again.
    before = (run / runs.EVALUATION).stat().st_mtime_ns
    assert main.main(["sweep", "my.toml"]) == 0
    assert "2 of 2 runs are already finished" in capsys.readouterr().out
    assert (run / runs.EVALUATION).stat().st_mtime_ns == before


def test_a_run_whose_sweep_has_gone_does_not_begin(tmp_path):
    other = str(os.getpid() + 1)
    command = [sys.executable, "-m", "jaxfactory.cli.sweep_child", other, "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (143, "")
    command[3] = str(os.getpid())
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert done.stdout.startswith("jaxfactory ")
