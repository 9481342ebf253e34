"""Searches: the file, the shared study, pruning, results and the page."""

import json
import re
from pathlib import Path

import pytest
from rich.console import Console

from jaxfactory._util.errors import UserError
from jaxfactory._util.signals import Interrupt
from jaxfactory.cli import main
from jaxfactory.sweep.search import search_file, search_page, search_runner, study
from jaxfactory.sweep.search.run_metrics import MetricsTail
from jaxfactory.sweep.search.search_space import Range
from jaxfactory.sweep.sweep_runs import Child


@pytest.fixture(autouse=True)
def in_an_empty_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


SPACE = """
[sweep.space]
learning_rate = { low = 1e-5, high = 1e-2, log = true }
num_epochs = { low = 1, high = 4 }
core = ["gru", "none"]
"""
COMMAND = 'command = { scenario = "basic", total_frames = 8192 }'


def written(keys='search = "tpe"', space=SPACE, command=COMMAND):
    path = Path("my.toml")
    path.write_text(f"[sweep]\n{command}\n{keys}\n{space}")
    return path


def read(*args, **kwargs):
    return search_file.read(written(*args, **kwargs))


def test_a_file_is_read():
    search = read('search = "tpe"\ntrials = 7\nseeds = [3, 4]')
    assert search.space == {
        "learning_rate": Range(1e-5, 1e-2, True, None, False),
        "num_epochs": Range(1, 4, False, None, True),
        "core": ("gru", "none"),
    }
    assert (search.method, search.trials, search.objectives) == ("tpe", 7, ("score",))
    assert (search.pruner, search.prune_after, search.storage) == (
        "median", 2048, "journal",
    )  # fmt: skip
    params = {"learning_rate": 0.5, "num_epochs": 2, "core": "none"}
    jobs = search.jobs(5, params)
    assert [job.name for job in jobs] == ["trial=5,seed=3", "trial=5,seed=4"]
    assert jobs[1].config.ppo.num_epochs == 2
    assert jobs[1].config.network.core == "none"
    assert jobs[1].config.seed == 4


def test_a_grid_has_as_many_trials_as_points():
    space = "[sweep.space]\nnum_epochs = {low = 1, high = 3}\ngamma = [0.9, 0.99]"
    assert read('search = "grid"', space).trials == 6
    assert read('search = "grid"\ntrials = 4', space).trials == 4
    assert Range(0.5, 0.9, False, 0.2, False).values() == pytest.approx([0.5, 0.7, 0.9])


@pytest.mark.parametrize(
    ("keys", "space", "words"),
    [
        ('search = "tpa"', SPACE, "must be one of tpe, random, grid; did you mean"),
        ('search = "tpe"', "", "needs options to vary in [sweep.space]"),
        ("seeds = 2", SPACE, '[sweep.space] needs search = "tpe"'),
        ('search = "tpe"\nobjective = "fame"', SPACE, "objective = 'fame' must be one"),
        ('search = "tpe"\npruner = "axe"', SPACE, "pruner = 'axe' must be one of"),
        (
            'search = "tpe"\nobjective = "frames_per_second"\npruner = "median"',
            SPACE, "says nothing about frames_per_second",
        ),
        ('search = "tpe"\nobjective = "minutes_to_score"', SPACE, "target_score ="),
        ('search = "tpe"\ntrials = 0', SPACE, "trials = 0 must be a whole number"),
        ('search = "tpe"\nstorage = "cloud"', SPACE, "must be journal, sqlite or"),
        ('search = "tpe"\ngrid = {}', SPACE, "[sweep] has no 'grid'"),
        ('search = "grid"', SPACE, "learning_rate has no steps"),
        ('search = "tpe"', "[sweep.space]\ngamma = {low = 2, high = 1}", "less than"),
        ('search = "tpe"', "[sweep.space]\ngamma = {low = 0.5}", "must have numbers"),
        (
            'search = "tpe"', "[sweep.space]\ngamma = {low = 0, high = 1, log = true}",
            "needs a low over 0",
        ),
        (
            'search = "tpe"', "[sweep.space]\ngamma = {low = 0.5, high = 7.0}",
            "--gamma 7.0",
        ),
        ('search = "tpe"', '[sweep.space]\ncore = ["gru", "gruu"]', "gruu"),
        ('search = "tpe"', "[sweep.space]\ngama = [1]", "--gama"),
        ('search = "tpe"', "[sweep.space]\ntotal_frames = [1, 2]", "cannot vary"),
        ('search = "tpe"', "[sweep.space]\nscenario = ['basic']", "in both command"),
        ('search = "tpe"', "[sweep.space]\nseed = [1]", "use seeds"),
    ],
)  # fmt: skip
def test_a_mistake_is_reported_before_anything_starts(keys, space, words, capsys):
    path = written(keys, space)
    if "total_frames" in space:
        path = written(keys, space, 'command = { scenario = "basic" }')
    assert main.main(["sweep", str(path), "--dry-run"]) == 2
    assert words in capsys.readouterr().err


def test_a_sweep_without_search_has_no_trials(capsys):
    path = written("", "")
    assert main.main(["sweep", str(path), "--max-trials", "2"]) == 2
    assert "--max-trials 2 is for searches" in capsys.readouterr().err


def test_without_optuna_the_message_names_the_extra(monkeypatch, capsys):
    def without(name, *rest):
        return None if name == "optuna" else real(name, *rest)

    import importlib.util

    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", without)
    assert main.main(["sweep", str(written())]) == 2
    assert "pip install 'jaxfactory[sweep]'" in capsys.readouterr().err
    # Neither listing nor sweeps of fixed combinations need it.
    assert main.main(["sweep", str(written()), "--dry-run"]) == 0
    assert "learning_rate: 1e-05 to 0.01, logarithmic" in capsys.readouterr().out


def test_the_batch_script_has_a_task_for_each_trial(capsys, tmp_path):
    path = written('search = "random"\ntrials = 5\nparallel = 2')
    assert main.main(["sweep", str(path), "--slurm"]) == 0
    script = (tmp_path / "runs/sweeps/my/sweep.sbatch").read_text()
    assert "#SBATCH --array=0-4%2" in script
    task = f"run sweep {tmp_path}/my.toml --output={tmp_path}/runs/sweeps/my"
    assert script.count(f"{task} --max-trials=1 --parallel=1") == 5


@pytest.mark.parametrize("storage", ["journal", "sqlite"])
def test_two_processes_share_a_study(storage):
    search = read(f'search = "random"\ntrials = 4\nstorage = "{storage}"')
    one, other = study.Study(search), study.Study(search)
    trials = [one.next(), other.next(), one.next(), other.next()]
    assert [trial.number for trial in trials] == [0, 1, 2, 3]
    assert one.next() is None
    params = [one.params(trial) for trial in trials]
    assert len({found["learning_rate"] for found in params}) == 4
    assert all(1e-5 <= found["learning_rate"] <= 1e-2 for found in params)
    # The second process ends without a result: the first continues its trials.
    other.close()
    again = one.next()
    assert again.number == 1
    assert one.params(again) == params[1]
    one.close()


def test_a_grid_visits_every_point_once():
    space = (
        "[sweep.space]\nnum_epochs = {low = 1, high = 2}\nconv_channels = [[4], [8]]"
    )
    command = 'command = { scenario = "basic", conv_kernels = [4], conv_strides = [2] }'
    search = read('search = "grid"', space, command)
    shared = study.Study(search)
    points = []
    while (trial := shared.next()) is not None:
        points.append(shared.params(trial))
        shared.optuna.tell(trial, 1.0)
    shared.close()
    assert sorted((p["num_epochs"], p["conv_channels"]) for p in points) == [
        (1, [4]), (1, [8]), (2, [4]), (2, [8]),
    ]  # fmt: skip


def test_a_study_of_another_search_is_refused():
    study.Study(read()).close()
    with pytest.raises(UserError, match="is of another command, space, objective"):
        study.Study(read(space="[sweep.space]\ngamma = [0.9, 0.99]"))
    with pytest.raises(UserError, match="has other objectives"):
        study.Study(read('search = "tpe"\nobjective = ["score", "minutes"]'))


def test_a_damaged_study_is_refused():
    search = read()
    search.sweep.folder.mkdir(parents=True)
    (search.sweep.folder / study.JOURNAL).write_text("this is no journal\n" * 3)
    with pytest.raises(UserError, match=r"study\.journal cannot be opened"):
        study.Study(search)


def write_metrics(run_dir, rows):
    run_dir.mkdir(parents=True, exist_ok=True)
    with (run_dir / "metrics.jsonl").open("a") as file:
        for frames, seconds, value in rows:
            row = {"frames": frames, "time/wall_clock": seconds}
            if value is not None:
                row["episode/raw_return"] = value
            file.write(json.dumps(row) + "\n")


def test_metrics_are_read_as_they_grow(tmp_path):
    run = tmp_path / "run"
    tail = MetricsTail(run)
    tail.read()
    assert (tail.frames, tail.minutes) == (0, 0)
    write_metrics(run, [(100, 60, None), (260, 120, 2.0)])
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"frames": 300, "ti')
    tail.read()
    assert (tail.frames, tail.minutes, tail.raw_return) == (260, 2, 2.0)
    # Quarters of 400 frames: the first row has no raw return.
    assert list(tail.at_fractions(4, 400)) == [(2, 2.0)]
    with (run / "metrics.jsonl").open("a") as file:
        file.write('me/wall_clock": 180, "episode/raw_return": 5.0}\n')
    tail.read()
    assert list(tail.at_fractions(4, 400)) == [(2, 2.0), (3, 5.0)]
    assert tail.minutes_to(4.0) == 3
    assert not tail.reached(6.0)


class FakeChild(Child):
    """A run whose score is a function of its options, in ten rows."""

    def __init__(self, sweep, job, slot):
        self.job, self.slot, self.code, self.rows = job, slot, 0, 0
        self.stopped = False

    def has_ended(self):
        if self.stopped:
            self.code = 130
            return True
        if self.rows == 10:
            return True
        self.rows += 1
        frames = self.job.config.total_frames * self.rows // 10
        value = self.job.config.ppo.num_epochs * self.rows
        write_metrics(self.job.run_dir, [(frames, 6.0 * self.rows, float(value))])
        return False

    def send(self, signum):
        self.stopped = True

    def wait(self, seconds):
        return True


def searched(monkeypatch, keys, **kwargs):
    monkeypatch.setattr(search_runner, "Child", FakeChild)
    monkeypatch.setattr(search_runner, "POLL_SECONDS", 0.0)
    search = read(keys, **kwargs)
    shared = study.Study(search)
    runner = search_runner.SearchRunner(search, shared, None, Console(quiet=True))
    runner.run(Interrupt())
    shared.close()
    return search, shared.optuna


EPOCHS = "[sweep.space]\nnum_epochs = [4, 3, 2, 1, 5, 6]"


def test_low_raw_returns_are_pruned(monkeypatch):
    search, found = searched(
        monkeypatch,
        'search = "grid"\nprune_after = 4096\nsearch_seed = 1',
        space="[sweep.space]\nnum_epochs = {low = 1, high = 9}",
    )
    states = {}
    for trial in found.trials:
        states.setdefault(trial.state.name, []).append(trial)
    assert len(found.trials) == 9
    # Four trials run to the end whatever they have.
    assert len(states["COMPLETE"]) >= 4
    assert states["PRUNED"]
    best = found.best_trial
    assert best.value == 90.0
    assert best.params == {"num_epochs": 9}
    assert best.user_attrs["minutes"] == 1.0
    for trial in states["PRUNED"]:
        # After half of the run's 20 reports, and before the last.
        assert 10 <= max(trial.intermediate_values) < 20
    assert len(search_page.plots(search, found)) == 5


def test_time_to_a_score(monkeypatch):
    _, found = searched(
        monkeypatch,
        'search = "grid"\nobjective = "minutes_to_score"\ntarget_score = 18\n'
        'pruner = "none"',
        space=EPOCHS,
    )
    # 18 after 18 / epochs rows of 0.1 minutes, rounded up; one epoch never has it.
    values = {trial.params["num_epochs"]: trial.value for trial in found.trials
              if trial.state.name == "COMPLETE"}  # fmt: skip
    expected = {6: 0.3, 5: 0.4, 4: 0.5, 3: 0.6, 2: 0.9}
    assert values == pytest.approx(expected)
    (never,) = [trial for trial in found.trials if trial.state.name == "PRUNED"]
    assert never.params == {"num_epochs": 1}
    assert found.best_params == {"num_epochs": 6}


def test_a_score_that_is_asked_for_too_is_not_that_of_the_target(monkeypatch):
    _, found = searched(
        monkeypatch,
        'search = "grid"\nobjective = ["score", "minutes_to_score"]\ntarget_score = 18',
        space=EPOCHS,
    )
    values = {trial.params["num_epochs"]: trial.values for trial in found.trials
              if trial.state.name == "COMPLETE"}  # fmt: skip
    assert values[6] == pytest.approx([60.0, 0.3])
    assert values[2] == pytest.approx([20.0, 0.9])


def test_a_trial_that_ended_meanwhile_is_not_continued(monkeypatch):
    search = read('search = "random"\ntrials = 2\nstorage = "journal"')
    one, other = study.Study(search), study.Study(search)
    trial = one.next()
    owned = other._own

    def own(number):
        # It is told and released after the other process has read the trials.
        if number == trial.number and number in one._held:
            one.optuna.tell(trial, 1.0)
            one.release(number)
        return owned(number)

    monkeypatch.setattr(other, "_own", own)
    assert other.next().number == 1
    other.close()
    one.close()


def test_score_and_minutes_and_the_page(monkeypatch):
    search, found = searched(
        monkeypatch,
        'search = "random"\ntrials = 4\nseeds = 2\nobjective = ["score", "minutes"]',
    )
    assert all(trial.values[1] == 1.0 for trial in found.trials)
    assert sorted({trial.values[0] for trial in found.trials}) == sorted(
        {10.0 * trial.params["num_epochs"] for trial in found.trials}
    )
    page = search_page.render(search, found)
    assert page.count('class="plotly-graph-div"') >= 4
    assert "score and minutes" in page
    assert "4 complete" in page
    # Self-contained: the library is in the page.
    assert len(page) > 1_000_000
    assert not re.findall(r"<(?:script|link|img)[^>]*(?:src|href)=\"?https?:", page)


@pytest.mark.slow
def test_a_search_from_the_command_line(capsys):
    command = (
        'command = { env = "gymnasium:CartPole-v1", num_envs = 8, '
        "total_frames = 2048, num_steps = 16 }"
    )
    space = "[sweep.space]\nlearning_rate = [1e-3, 1e-4]"
    path = written('search = "grid"\nevaluate = 2', space, command)
    assert main.main(["sweep", str(path), "--max-trials", "1"]) == 0
    assert main.main(["sweep", str(path)]) == 0
    assert "best: trial" in capsys.readouterr().out
    folder = Path("runs/sweeps/my")
    assert len(list(folder.glob("trial=*/evaluation.json"))) == 2
    assert (folder / "search.html").is_file()
    assert (folder / "report.html").is_file()
