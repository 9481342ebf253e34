"""Checkpoints that are kept for good, with --keep-every."""

import numpy as np
import pytest
from saved_states import make_progress, make_state

from jaxfactory._util.errors import UserError
from jaxfactory.checkpoints.background_writer import BackgroundWriter
from jaxfactory.checkpoints.manager import Checkpointer
from jaxfactory.checkpoints.saved_run import load_for_evaluation
from jaxfactory.config import runs
from jaxfactory.config.train import Config, EvaluateOptions


EVERY = Config(keep_every=100)


def train(run_dir, frames, *, config=EVERY, fill=0.0, save_at=()):
    """Pass the given frames, as the training loop does, from the latest checkpoint."""
    # The minutes never pass: only what is saved explicitly is a latest checkpoint.
    with Checkpointer(run_dir, config, clock=lambda: 0.0) as checkpointer:
        checkpointer.restore_or(make_state())
        for number in frames:
            state = make_state(number, fill=fill)
            checkpointer.maybe_save(state, make_progress())
            if number in save_at:
                checkpointer.save(state, make_progress())


def names(run_dir, kind="kept"):
    return [int(path.name) for path in runs.checkpoint_dirs(run_dir, kind)]


def weight(run_dir, kind):
    state = load_for_evaluation(run_dir, kind).restore(make_state())
    return np.asarray(state.params["dense"]["kernel"])[0, 0]


def test_the_first_state_after_each_multiple_is_kept(tmp_path):
    # 100 is passed at 128, 200 at 224, 300 at 320, 400 at 416; 96, 192 pass none.
    train(tmp_path / "run", range(32, 450, 32), save_at=(256, 352, 416))
    assert names(tmp_path / "run") == [128, 224, 320, 416]
    # The others stay two.
    assert names(tmp_path / "run", "latest") == [352, 416]


def test_none_is_kept_by_default(tmp_path):
    train(tmp_path / "run", range(32, 450, 32), config=Config())
    assert names(tmp_path / "run") == []


def test_the_last_state_may_be_one(tmp_path):
    with Checkpointer(tmp_path / "run", EVERY) as checkpointer:
        checkpointer.save(make_state(100), make_progress())
    assert names(tmp_path / "run") == [100]


def test_a_killed_run_keeps_one_per_multiple(tmp_path):
    """It resumes before a multiple that it has already passed."""
    run_dir = tmp_path / "run"
    train(run_dir, (90, 120, 150), save_at=(90,), fill=1.0)
    assert names(run_dir) == [120]
    assert names(run_dir, "latest") == [90]
    # With other environments, and so at other frames.
    train(run_dir, (130, 170, 210), save_at=(210,), fill=2.0)
    assert names(run_dir) == [120, 210]
    assert weight(run_dir, "120") == 1.0
    # The resumed run, which has passed 200, keeps none before 300.
    train(run_dir, (250, 290, 330), save_at=(330,), fill=3.0)
    assert names(run_dir) == [120, 210, 330]


def test_a_latest_checkpoint_means_that_the_kept_ones_before_it_exist(
    tmp_path, monkeypatch
):
    run_dir, written = tmp_path / "run", []

    def note(self, arrays, host, kind, kept):
        written.append(kind)

    monkeypatch.setattr(BackgroundWriter, "_write", note)
    with Checkpointer(run_dir, EVERY) as checkpointer:
        checkpointer.save(make_state(100), make_progress())
    assert written == ["kept", "latest"]


def test_a_run_can_begin_to_keep_some(tmp_path):
    run_dir = tmp_path / "run"
    train(run_dir, (150,), config=Config(), save_at=(150,))
    train(run_dir, (180, 210))
    assert names(run_dir) == [210]


def test_a_kept_one_is_found_by_its_frames_and_by_its_multiple(tmp_path):
    train(tmp_path, (90,), fill=1.0)
    train(tmp_path, (120,), fill=2.0)
    train(tmp_path, (210, 260), fill=3.0, save_at=(260,))
    for asked, frames, fill in (
        ("120", 120, 2.0),
        ("100", 120, 2.0),
        ("000100", 120, 2.0),
        ("200", 210, 3.0),
        ("260", 260, 3.0),  # The latest one.
    ):
        assert load_for_evaluation(tmp_path, asked).frames == frames
        assert weight(tmp_path, asked) == fill


@pytest.mark.parametrize("asked", ["90", "110", "300", "0", "1000"])
def test_what_is_not_kept_is_reported_with_what_is(tmp_path, asked):
    train(tmp_path, (120, 210), save_at=(210,))
    with pytest.raises(UserError) as caught:
        load_for_evaluation(tmp_path, asked)
    assert f"no checkpoint at {asked} frames; kept are 120, 210" in str(caught.value)


@pytest.mark.parametrize("asked", ["newest", "", "-1", "1.5", "../latest", "1\n"])
def test_other_names_are_refused(tmp_path, asked):
    for ask in (
        lambda: EvaluateOptions(checkpoint=asked),
        lambda: load_for_evaluation(tmp_path, asked),
    ):
        with pytest.raises(UserError, match="must be best, latest, or the frames"):
            ask()


def test_a_damaged_one_names_another(tmp_path):
    train(tmp_path, (120,), save_at=(120,))
    (tmp_path / "checkpoints" / "kept" / f"{120:012d}" / "host.json").unlink()
    with pytest.raises(UserError, match="--checkpoint latest may be intact"):
        load_for_evaluation(tmp_path, "120").restore(make_state())


def test_negative_frames_are_refused():
    with pytest.raises(UserError, match="--keep-every -1 must be a number of frames"):
        Config(keep_every=-1)
