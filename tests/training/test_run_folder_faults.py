"""Run directories that vanish or cannot be written, before training and during it."""

import json
import os
import shutil
import subprocess
import sys
import textwrap

import pytest
from saved_states import assert_equal
from tiny import FLAGS, tiny_config

from jaxfactory._util.errors import UserError
from jaxfactory.checkpoints.manager import Checkpointer
from jaxfactory.checkpoints.saved_run import load_for_evaluation
from jaxfactory.config import runs
from jaxfactory.training.loop import train


def config(updates):
    # A rollout is 8 steps of 4 environments.
    env, ppo = {"frame_skip": 1}, {"lr_schedule": "constant"}
    return tiny_config("gymnasium:CartPole-v1", updates, env=env, ppo=ppo)


def at_updates(**actions):
    """Return a callback that does something after the updates ``u1``, ``u2``, ..."""
    calls = 0

    def callback(iteration):
        nonlocal calls
        calls += 1
        if action := actions.get(f"u{calls}"):
            action(iteration.run_dir)

    return [callback]


def frames_of_rows(run):
    lines = (run / runs.METRICS).read_text().splitlines()
    return [json.loads(line)["frames"] for line in lines]


def test_a_run_directory_that_is_removed_is_made_again(tmp_path):
    run = tmp_path / "run"
    with pytest.warns(UserWarning, match=r"was removed .*; it is made again") as said:
        state = train(config(6), run, callbacks=at_updates(u3=shutil.rmtree))
    assert len(said) == 1
    assert state.frames == 6 * 32
    # Metrics are written an update late: only those of the first were there.
    assert frames_of_rows(run) == [64, 96, 128, 160, 192]
    assert list((run / runs.TENSORBOARD).iterdir())
    assert_equal(load_for_evaluation(run, "latest").restore(state), state)
    assert train(config(7), run).frames == 7 * 32
    assert frames_of_rows(run)[-1] == 7 * 32


def test_a_run_of_another_process_in_its_place_is_left_alone(tmp_path):
    run, others = tmp_path / "run", []

    def replace(run_dir):
        shutil.rmtree(run_dir)
        others.append(Checkpointer(run_dir, config(1)))
        others[0].__enter__()
        (run_dir / runs.METRICS).write_text("another's\n")

    with (
        pytest.warns(UserWarning, match=r"cannot be made again \(another process"),
        pytest.warns(UserWarning, match="JsonlWriter cannot write"),
        pytest.raises(UserError, match=r"removed .* state at 160 frames is not saved"),
    ):
        train(config(5), run, callbacks=at_updates(u2=replace))
    others[0].__exit__()
    assert (run / runs.METRICS).read_text() == "another's\n"
    assert not runs.checkpoint_dirs(run, "latest")


def test_metrics_that_cannot_be_written_wait(tmp_path):
    """A directory takes the file's place for a while."""

    def block(run_dir):
        (run_dir / runs.METRICS).unlink()
        (run_dir / runs.METRICS).mkdir()

    run = tmp_path / "run"
    actions = at_updates(u2=block, u5=lambda run_dir: (run_dir / runs.METRICS).rmdir())
    with pytest.warns(UserWarning, match="JsonlWriter cannot write .* goes on") as said:
        state = train(config(7), run, callbacks=actions)
    assert len(said) == 1
    assert state.frames == 7 * 32
    assert frames_of_rows(run) == list(range(32, 225, 32))


def test_a_directory_that_is_read_only_is_a_sentence(tmp_path):
    """A new run in it, and one that is resumed."""
    place = tmp_path / "place"
    train(config(1), place / "old")
    code = f"""
        from jaxfactory.cli import main
        flags = ("--env", "gymnasium:CartPole-v1", "--lr-schedule", "constant")
        flags += {FLAGS!r} + ("--frame-skip", "1", "--total-frames", "96")
        for name in ("old", "new", "deep/new"):
            print(main.main(["train", *flags, "--run", {str(place)!r} + "/" + name]))
        """
    mount = 'mount --bind "$1" "$1" && mount -o remount,bind,ro "$1"; shift; exec "$@"'
    done = subprocess.run(
        ["unshare", "--map-root-user", "--mount", "sh", "-c", mount, "sh", place,
         sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True, text=True, timeout=300, env=dict(os.environ),
    )  # fmt: skip
    if "unshare" in done.stderr or "mount" in done.stderr:
        pytest.skip("no namespaces here")
    assert done.stdout == "2\n2\n2\n", done.stderr
    said = done.stderr.splitlines()
    assert len(said) == 3
    for line, name in zip(said, ("old", "new", "deep/new"), strict=True):
        assert line == (
            f"jaxfactory: the run directory {place}/{name} cannot be written "
            "(Read-only file system); give --run another one"
        )
