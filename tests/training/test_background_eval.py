"""Evaluation and videos during training: what they give, and that they harm nothing."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import numpy as np
import pytest
from saved_states import assert_equal, make_progress, make_state
from tiny import FLAGS, tiny_config

from jaxfactory.checkpoints.manager import Checkpointer
from jaxfactory.checkpoints.saved_run import load_for_evaluation
from jaxfactory.cli import main
from jaxfactory.config import runs
from jaxfactory.config.train import Config, WatchConfig
from jaxfactory.metrics.writers import CompositeWriter
from jaxfactory.training import background_eval
from jaxfactory.training.loop import train


# One rollout of 4 environments x 8 steps x 4 tics.
ITERATION = 4 * 8 * 4


class Recorder:
    """A writer that remembers."""

    def __init__(self) -> None:
        self.rows: list[tuple[dict, int]] = []
        self.notes: list[str] = []
        self.videos: list[int] = []

    def begin(self, frames: int) -> None:
        pass

    def write(self, metrics, frames: int) -> None:
        self.rows.append((dict(metrics), frames))

    def note(self, text: str) -> None:
        self.notes.append(text)

    def write_video(self, mp4: Path, gif: Path, frames: int) -> None:
        assert mp4.is_file()
        assert gif.read_bytes().startswith(b"GIF89a")
        self.videos.append(frames)

    def close(self) -> None:
        pass


def test_what_is_due():
    assert not background_eval._is_due(0, 0, 1000)
    assert [background_eval._is_due(100, 0, f) for f in (99, 100, 101)] == [
        False,
        True,
        True,
    ]
    # However many were missed, it is done once.
    assert background_eval._is_due(100, 250, 530)
    assert not background_eval._is_due(100, 530, 599)


@pytest.mark.slow
@pytest.mark.vizdoom
def test_a_watched_training_learns_the_same(tmp_path):
    watch = WatchConfig(
        evaluate_every=ITERATION,
        evaluate_episodes=3,
        video_every=2 * ITERATION,
        best_by="evaluation",
    )
    recorder = Recorder()
    run = tmp_path / "watched"
    watched = train(tiny_config(updates=4, watch=watch), run, writer=recorder)
    assert_equal(watched, train(tiny_config(updates=4), tmp_path / "alone"))

    scores = [
        (row, at) for row, at in recorder.rows if "evaluation/shaped_return" in row
    ]
    last, at = scores[-1]
    assert at == 4 * ITERATION
    assert last["evaluation/episodes"] == 3
    # basic: 101 for a hit, -5 a shot, -1 a tic, in hundredths for the shaped return.
    assert -5 < last["evaluation/shaped_return"] < 1.01
    assert last["evaluation/raw_return"] == pytest.approx(
        100 * last["evaluation/shaped_return"], rel=1e-3
    )
    assert last["evaluation/length_max"] <= 300
    lines = [json.loads(line) for line in (run / runs.METRICS).read_text().splitlines()]
    assert [line for line in lines if "evaluation/shaped_return" in line] == [
        {"frames": at, **row} for row, at in scores
    ]
    assert any("evaluated at 512 frames: raw return" in note for note in recorder.notes)

    # The best checkpoint is the state that scored best.
    best = max(row["evaluation/shaped_return"] for row, _ in scores)
    (kept,) = runs.checkpoint_dirs(run, "best")
    assert best in [
        row["evaluation/shaped_return"] for row, at in scores if at == int(kept.name)
    ]
    load_for_evaluation(run, "best").restore(watched)

    assert recorder.videos[-1] == 4 * ITERATION
    mp4s = sorted((run / runs.VIDEOS).iterdir())
    assert [int(path.stem) for path in mp4s] == recorder.videos
    with av.open(str(mp4s[-1])) as video:
        assert video.streams.video[0].width == 640
    images = b"".join(p.read_bytes() for p in (run / runs.TENSORBOARD).iterdir())
    assert images.count(b"GIF89a") == len(recorder.videos)

    assert sorted(path.name for path in (run / runs.CHECKPOINTS).iterdir()) == [
        "best", "latest",
    ]  # fmt: skip
    # What it had to say would be in its log.
    assert not (run / background_eval.LOG).exists()
    assert not _children("background_worker", os.getpid())


@pytest.mark.vizdoom
def test_ctrl_c_leaves_no_evaluator(tmp_path):
    command = [
        sys.executable, "-m", "jaxfactory", "train", "--run", "run", "--mode", "async",
        "--scenario=basic", *FLAGS, "--total-frames", "100000000",
        "--evaluate-every", "1", "--evaluate-episodes", "2000", "--video-every", "1",
    ]  # fmt: skip
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        start_new_session=True,
    )  # fmt: skip
    # Until it plays: its engines are its children.
    deadline = time.monotonic() + 200
    while True:
        assert process.poll() is None, process.stdout.read()
        assert time.monotonic() < deadline
        evaluators = _children("background_worker", process.pid)
        if evaluators and _children("vizdoom", evaluators[0]):
            break
        time.sleep(0.1)
    # As a terminal does it: to the whole group.
    os.killpg(process.pid, signal.SIGINT)
    output = process.communicate(timeout=60)[0]
    assert process.returncode == 130, output
    assert "resume with" in output
    assert "Traceback" not in output
    assert not Path(f"/proc/{evaluators[0]}").exists()
    assert not (tmp_path / "run" / runs.CHECKPOINTS / "temporary").exists()
    assert not list((tmp_path / "run").glob("videos/*"))


def test_an_evaluator_that_fails_is_reported_and_given_up(tmp_path, monkeypatch):
    # A process that ends at once, as one does that runs out of memory.
    monkeypatch.setattr(sys, "executable", "/bin/false")
    recorder = Recorder()
    config = tiny_config(watch=WatchConfig(evaluate_every=100))
    progress = make_progress()
    with (
        Checkpointer(tmp_path / "run", config) as checkpointer,
        background_eval.BackgroundEvaluator(
            config.watch, checkpointer, CompositeWriter(recorder)
        ) as one,
    ):
        frames = 0
        deadline = time.monotonic() + 60
        while len(recorder.notes) < 3:
            assert time.monotonic() < deadline
            frames += 50
            one.maybe_submit(make_state(frames=frames), progress)
            time.sleep(0.01)
        state = make_state(frames=frames)
        one.finish(state, progress, stop=lambda: False)
    assert recorder.notes[0].startswith(
        "the evaluation at 100 frames failed: its process ended (exit code"
    )
    assert recorder.notes[2].endswith(
        "after 3 failures in a row, background evaluation is off"
    )
    assert len(recorder.notes) <= 4


def test_a_temporary_checkpoint_becomes_the_best_by_its_score(tmp_path):
    config = Config(watch=WatchConfig(evaluate_every=1, best_by="evaluation"))
    run = tmp_path / "run"

    def best():
        return [int(path.name) for path in runs.checkpoint_dirs(run, "best")]

    with Checkpointer(run, config) as checkpointer:
        # Training's own mean return counts for nothing now.
        checkpointer.save(make_state(frames=5), make_progress(1000.0))
        assert best() == []
        for frames, score, expected in ((10, 1.0, 10), (20, 0.5, 10), (30, 2.0, 30)):
            state = make_state(frames=frames, fill=float(frames))
            checkpointer.save_temporary(state, make_progress()).result()
            assert checkpointer.temporary(frames).is_dir()
            assert checkpointer.keep_if_best(frames, score) == (expected == frames)
            checkpointer.remove_temporary(frames)
            assert best() == [expected]
        checkpointer.save(make_state(frames=40), make_progress())
    assert not (run / runs.CHECKPOINTS / "temporary").exists()
    restored = load_for_evaluation(run, "best").restore(make_state())
    np.testing.assert_array_equal(restored.params["dense"]["kernel"], 30.0)
    # A resumed run remembers the best score, but not one of another kind.
    with Checkpointer(run, config) as checkpointer:
        checkpointer.restore_or(make_state())
        checkpointer.save_temporary(make_state(frames=50), make_progress()).result()
        assert not checkpointer.keep_if_best(50, 1.5)
    with Checkpointer(run, Config()) as checkpointer:
        checkpointer.restore_or(make_state())
        checkpointer.save(make_state(frames=60), make_progress(-5.0))
    assert best() == [60]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--evaluate-every", "-1"], "--evaluate-every -1 must be a number of frames"),
        (["--video-every", "-1"], "--video-every -1 must be a number of frames"),
        (["--evaluate-episodes", "0"], "--evaluate-episodes 0 must be greater than 0"),
        (["--best-by", "evaluation"], "add --evaluate-every FRAMES"),
    ],
)
def test_a_mistake_is_a_sentence(flags, words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main.main(["train", *flags]) == 2
    assert words in capsys.readouterr().err


def _children(name: str, parent: int) -> list[int]:
    """Return the children of a process whose command line holds a word."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            status = (folder / "stat").read_text().rpartition(") ")[2].split()
            line = (folder / "cmdline").read_text()
        except OSError:
            continue
        if int(status[1]) == parent and name in line:
            found.append(int(folder.name))
    return found
