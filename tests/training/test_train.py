"""The corridor end to end, on the real engine: train, resume, interrupt, evaluate."""

import contextlib
import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path

import av
import numpy as np
import pytest
from engine_processes import names_of
from saved_states import assert_equal, leaves
from tiny import FLAGS, tiny_config

from jaxfactory._util.errors import UserError
from jaxfactory.checkpoints.saved_run import load_for_evaluation
from jaxfactory.config import runs
from jaxfactory.config.train import Config, EvaluateOptions
from jaxfactory.evaluation import evaluation_file
from jaxfactory.evaluation.evaluate import run as run_evaluation
from jaxfactory.training.loop import train


pytestmark = pytest.mark.vizdoom

# One rollout of 4 environments x 8 steps x 4 tics.
ITERATION = 4 * 8 * 4


def small(iterations: int, **changes) -> Config:
    return tiny_config("health_gathering_supreme", iterations, **changes)


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A run of three iterations."""
    path = tmp_path_factory.mktemp("runs") / "run"
    train(small(3), path)
    return path


def test_the_same_seed_gives_the_same_parameters(run, tmp_path):
    again = train(small(3), tmp_path / "again")
    assert_equal(again, load_for_evaluation(run).restore(again))
    other = train(small(3, seed=1), tmp_path / "other")
    assert not np.array_equal(leaves(other)[0], leaves(again)[0])


def test_serial_gives_the_same_parameters(run, tmp_path):
    serial = train(small(3, serial=True), tmp_path / "serial")
    assert_equal(serial, load_for_evaluation(run).restore(serial))


def test_resumes_exactly_where_it_stopped(tmp_path):
    path = tmp_path / "run"
    stopped = train(small(2), path)
    # Nothing is left to train: what comes back is what was saved.
    assert_equal(train(small(2), path), stopped)
    resumed = train(small(4), path)
    assert resumed.frames == 4 * ITERATION
    assert int(resumed.step) == 4
    lines = (path / runs.METRICS).read_text().splitlines()
    frames = [json.loads(line)["frames"] for line in lines]
    assert frames == [n * ITERATION for n in (1, 2, 3, 4)]


def test_a_kept_checkpoint_is_the_state_at_its_frames(run, tmp_path, capsys):
    path = tmp_path / "run"
    train(small(2, keep_every=ITERATION), path)
    train(small(4, keep_every=ITERATION), path)
    kept = [int(place.name) for place in runs.checkpoint_dirs(path, "kept")]
    assert kept == [n * ITERATION for n in (1, 2, 3, 4)]
    # One checkpoint is of the same state as that of a run that ended there.
    ended = train(small(2), tmp_path / "ended")
    asked = str(2 * ITERATION)
    assert_equal(load_for_evaluation(path, asked).restore(ended), ended)
    options = EvaluateOptions(run=path, checkpoint=asked, episodes=1, num_envs=1)
    result = run_evaluation(options)
    assert result["checkpoint"] == asked
    assert result["frames_trained"] == 2 * ITERATION
    stored = evaluation_file.read(path / "evaluation.json", "again")
    assert stored["checkpoint"] == asked


def test_metrics_are_written(run):
    last = json.loads((run / runs.METRICS).read_text().splitlines()[-1])
    assert last["frames"] == 3 * ITERATION
    for name in ("losses/policy_loss", "losses/entropy", "time/act",
                 "throughput/frames_per_second", "pool/engine_restarts"):  # fmt: skip
        assert np.isfinite(last[name]), name
    assert list((run / runs.TENSORBOARD).glob("events*"))


def test_refuses_a_run_of_another_network(run):
    other = small(1, network={"conv_channels": (8, 4, 4)})
    with pytest.raises(UserError, match="--conv-channels 8 4 4"):
        train(other, run)


def test_evaluate_gives_each_environment_its_share(run, capsys):
    options = EvaluateOptions(run=run, episodes=5, num_envs=2, render_mp4=True)
    result = run_evaluation(options)
    stored = json.loads((run / "evaluation.json").read_text())
    assert stored == json.loads(json.dumps(result))
    assert result["episodes"] == 5
    own = [episode["raw_return"] for episode in result["each"]]
    # 0.01 a tic, and no other reward of its own.
    lengths = [episode["length"] for episode in result["each"]]
    np.testing.assert_allclose(own, np.array(lengths) * 0.01, rtol=1e-5)
    np.testing.assert_allclose(result["raw_return"]["mean"], np.mean(own), rtol=1e-6)
    np.testing.assert_allclose(
        result["raw_return"]["mean_minus_std"], np.mean(own) - np.std(own), rtol=1e-6
    )
    assert "mean - std" in capsys.readouterr().out
    with av.open(str(run / "evaluation.mp4")) as video:
        stream = video.streams.video[0]
        assert stream.codec_context.name == "h264"
        assert (stream.width, stream.height) == (640, 480)
        assert stream.average_rate == 35
        frames = [frame.to_ndarray(format="rgb24") for frame in video.decode(stream)]
    # The first episode: its opening frame and one for each tic.
    assert len(frames) == lengths[0] + 1
    assert np.mean(frames[0]) > 10
    assert np.mean(np.abs(frames[0].astype(int) - frames[-1].astype(int))) > 1


def test_the_same_evaluation_twice(run):
    options = EvaluateOptions(run=run, episodes=2, num_envs=2, seed=3)
    first, second = run_evaluation(options), run_evaluation(options)
    assert first["each"] == second["each"]
    assert run_evaluation(
        EvaluateOptions(run=run, episodes=2, num_envs=2, seed=3, deterministic=True)
    )["deterministic"]


# Ctrl-C in a process of its own, see test_background_eval.
@pytest.mark.parametrize(
    "number",
    [pytest.param(signal.SIGINT, marks=pytest.mark.slow), signal.SIGTERM],
)
def test_a_signal_saves_and_leaves(tmp_path, number):
    process = _start(tmp_path, "--total-frames", "100000000")
    _wait_for(tmp_path / "run" / runs.METRICS, process)
    process.send_signal(number)
    output = process.communicate(timeout=60)[0]
    assert process.returncode == 128 + number, output
    assert re.search(r"resume with: jaxfactory train --run \S*run", output)
    assert "Traceback" not in output
    assert runs.checkpoint_dirs(tmp_path / "run", "latest")
    assert not _engines_of(process.pid)


def test_a_run_whose_output_nobody_reads_saves_and_leaves(tmp_path):
    """As in ``jaxfactory train | head``."""
    process = _start(tmp_path, "--total-frames", "100000000", stderr=subprocess.PIPE)
    _wait_for(tmp_path / "run" / runs.METRICS, process)
    process.stdout.close()
    with process.stderr:
        errors = process.stderr.read()
    assert process.wait(60) == 128 + signal.SIGPIPE, errors
    assert re.fullmatch(r"jaxfactory: stopped by SIGPIPE; .* resume with: .*\n", errors)
    assert runs.checkpoint_dirs(tmp_path / "run", "latest")
    assert not _engines_of(process.pid)


@pytest.mark.slow
def test_a_run_whose_terminal_is_closed_saves_and_leaves(tmp_path):
    ours, theirs = os.openpty()
    process = _start(
        tmp_path, "--total-frames", "100000000", stdin=theirs, stdout=theirs,
        stderr=theirs, start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )  # fmt: skip
    os.close(theirs)
    os.set_blocking(ours, False)
    seen = b""
    while b"frames/s" not in seen:
        assert process.poll() is None, seen
        with contextlib.suppress(BlockingIOError):
            seen += os.read(ours, 2**16)
        time.sleep(0.05)
    os.close(ours)
    assert process.wait(60) == 128 + signal.SIGHUP
    assert runs.checkpoint_dirs(tmp_path / "run", "latest")
    assert not _engines_of(process.pid)


def test_a_time_limit_ends_and_saves(run, tmp_path):
    # The time counts from the start, and `run` has compiled what is slow about it.
    config = small(10_000, train_for_minutes=0.1)
    state = train(config, tmp_path / "run")
    assert 0 < state.frames < config.total_frames
    saved = runs.checkpoint_dirs(tmp_path / "run", "latest")
    assert int(saved[-1].name) == state.frames


def test_sigkill_leaves_no_engine(tmp_path):
    process = _start(tmp_path, "--total-frames", "100000000")
    _wait_for(tmp_path / "run" / runs.METRICS, process)
    engines = _engines_of(process.pid)
    assert len(engines) == 5  # of four environments, and the fork server
    process.kill()
    process.communicate()
    deadline = time.monotonic() + 10
    while any(Path(f"/proc/{pid}/exe").exists() for pid in engines):
        assert time.monotonic() < deadline, "engines outlive their trainer"
        time.sleep(0.05)
    assert not names_of(process.pid)


def _start(folder: Path, *flags: str, **options) -> subprocess.Popen:
    command = [
        sys.executable, "-m", "jaxfactory", "train", "--run", str(folder / "run"),
        "--scenario", "basic", *FLAGS, *flags,
    ]  # fmt: skip
    return subprocess.Popen(
        command, cwd=folder, text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        **{"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, **options},
    )  # fmt: skip


def _wait_for(metrics: Path, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 120
    while not (metrics.is_file() and metrics.stat().st_size):
        assert process.poll() is None, process.stdout.read()
        assert time.monotonic() < deadline
        time.sleep(0.1)


def _engines_of(pid: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, _, rest = stat.read_text().partition(" (")[2].rpartition(") ")
        except OSError:
            continue
        if name == "vizdoom" and int(rest.split()[1]) == pid:
            found.append(int(stat.parent.name))
    return found
