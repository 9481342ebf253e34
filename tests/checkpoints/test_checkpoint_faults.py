"""A checkpoint that cannot be written does not end training, and the run's lock."""

import errno
import fcntl
import json
import os
import shutil
import threading

import numpy as np
import pytest
from orbax.checkpoint import v1 as orbax
from saved_states import make_progress, make_state

from jaxfactory._util.errors import UserError
from jaxfactory.checkpoints import background_writer, checkpoint_files, run_folder
from jaxfactory.checkpoints.manager import RETRY_SECONDS, Checkpointer
from jaxfactory.config import runs
from jaxfactory.config.train import Config


class Disk:
    """Lets `write_arrays` fail while it is full."""

    def __init__(self, monkeypatch, error):
        self.full, self._error = True, error
        self._write = background_writer.write_arrays
        monkeypatch.setattr(background_writer, "write_arrays", self)

    def __call__(self, *args, **kwargs):
        if self.full:
            raise self._error
        return self._write(*args, **kwargs)


# Orbax reports some failures of the disk as errors of its own.
ERRORS = [
    OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
    ValueError("NOT_FOUND: zarr"),
]


@pytest.mark.parametrize("error", ERRORS)
def test_training_goes_on_and_tries_again(tmp_path, monkeypatch, error):
    disk = Disk(monkeypatch, error)
    now = [0.0]
    config = Config(checkpoint_minutes=10.0)
    with Checkpointer(tmp_path / "run", config, clock=lambda: now[0]) as checkpointer:
        now[0] = 600.0
        assert checkpointer.maybe_save(make_state(10), make_progress())
        checkpointer._writer._writing.exception()
        with pytest.warns(UserWarning, match="cannot be written .*tried again") as said:
            assert not checkpointer.maybe_save(make_state(20), make_progress())
        assert len(said) == 1
        assert checkpointer.saved_frames == 0
        disk.full = False
        now[0] += RETRY_SECONDS
        assert checkpointer.maybe_save(make_state(20), make_progress())
        checkpointer._writer._writing.result()
        assert checkpointer.saved_frames == 20
        now[0] += RETRY_SECONDS
        assert not checkpointer.maybe_save(make_state(30), make_progress())


def test_one_to_keep_is_written_once_there_is_space(tmp_path, monkeypatch):
    disk = Disk(monkeypatch, ERRORS[0])
    run, now = tmp_path / "run", [0.0]
    config = Config(keep_every=100)
    with Checkpointer(run, config, clock=lambda: now[0]) as checkpointer:

        def save_in_vain():
            checkpointer.maybe_save(make_state(110), make_progress())
            checkpointer._writer.finish()

        with pytest.warns(UserWarning, match="cannot be written"):
            save_in_vain()
        checkpointer.maybe_save(make_state(120), make_progress())
        disk.full = False
        checkpointer.maybe_save(make_state(130), make_progress())
        now[0] += RETRY_SECONDS
        assert checkpointer.maybe_save(make_state(140), make_progress())
    kept = [path.name for path in runs.checkpoint_dirs(run, "kept")]
    assert [int(name) for name in kept] == [140]


@pytest.mark.parametrize("error", ERRORS)
def test_the_last_save_says_what_is_wrong(tmp_path, monkeypatch, error):
    Disk(monkeypatch, error)
    with (
        Checkpointer(tmp_path / "run", Config()) as checkpointer,
        pytest.raises(UserError, match=r"last checkpoint .*free disk space and resume"),
    ):
        checkpointer.save(make_state(10), make_progress())


def test_a_best_that_was_not_written_is_not_the_best(tmp_path, monkeypatch):
    disk = Disk(monkeypatch, ERRORS[0])
    with Checkpointer(tmp_path / "run", Config()) as checkpointer:
        with (
            pytest.warns(UserWarning, match="cannot be written"),
            pytest.raises(UserError),
        ):
            checkpointer.save(make_state(10), make_progress(5.0))
        disk.full = False
        checkpointer.save(make_state(20), make_progress(5.0))
    (best,) = runs.checkpoint_dirs(tmp_path / "run", "best")
    assert int(best.name) == 20


def test_a_directory_that_comes_back_keeps_its_best(tmp_path):
    run, away = tmp_path / "run", tmp_path / "away"
    with Checkpointer(run, Config()) as checkpointer:
        checkpointer.save(make_state(10), make_progress(5.0))
        run.rename(away)
        with pytest.warns(UserWarning, match="earlier checkpoints and metrics are lo"):
            checkpointer.save(make_state(20), make_progress(3.0))
        assert [path.name[-2:] for path in runs.checkpoint_dirs(run, "best")] == ["20"]
        shutil.rmtree(run)
        away.rename(run)
        with pytest.warns(UserWarning, match="the one that is there now is used"):
            checkpointer.save(make_state(30), make_progress(4.0))
        assert [path.name[-2:] for path in runs.checkpoint_dirs(run, "best")] == ["10"]
        checkpointer.save(make_state(40), make_progress(6.0))
    assert [path.name[-2:] for path in runs.checkpoint_dirs(run, "best")] == ["40"]


def test_a_directory_that_cannot_be_looked_at_is_not_removed(tmp_path, monkeypatch):
    with Checkpointer(tmp_path / "run", Config()) as checkpointer:
        assert checkpointer._run.is_there()

        def stale(path):
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), str(path))

        with monkeypatch.context() as patch:
            patch.setattr(run_folder.os, "stat", stale)
            assert checkpointer._run.is_there()
        shutil.rmtree(tmp_path / "run")
        assert not checkpointer._run.is_there()


def test_an_unfinished_checkpoint_takes_no_space(tmp_path, monkeypatch):
    def fail(path, arrays):
        path.mkdir()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(orbax, "save", fail)
    with (
        Checkpointer(tmp_path / "run", Config()) as checkpointer,
        pytest.raises(UserError),
    ):
        checkpointer.save(make_state(10), make_progress())
    assert not (tmp_path / "run" / "checkpoints" / ".unfinished").exists()


def test_no_threads_for_orbax_are_no_end(tmp_path, monkeypatch):
    """It would end the process."""
    start, allowed = threading.Thread.start, [10]

    def limited(thread):
        if allowed[0] == 0:
            raise RuntimeError("can't start new thread")
        allowed[0] -= 1
        start(thread)

    with Checkpointer(tmp_path / "run", Config()) as checkpointer:
        monkeypatch.setattr(threading.Thread, "start", limited)
        with pytest.raises(UserError, match="the system allows no more threads"):
            checkpointer.save(make_state(10), make_progress())
        allowed[0] = 10**6
        checkpointer.save(make_state(10), make_progress())
    (saved,) = runs.checkpoint_dirs(tmp_path / "run", "latest")
    assert int(saved.name) == 10


def test_the_settings_of_a_run_in_training_stay(tmp_path):
    with Checkpointer(tmp_path, Config(total_frames=1000)):
        before = (tmp_path / "config.json").read_text()
        with (
            pytest.raises(UserError, match="another process"),
            Checkpointer(tmp_path, Config(total_frames=2000)),
        ):
            pass
        assert (tmp_path / "config.json").read_text() == before


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks(tmp_path, monkeypatch, number):
    def refuse(file, flags):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with (
        pytest.warns(UserWarning, match="cannot be locked .*no other process"),
        Checkpointer(tmp_path, Config()),
    ):
        pass


def test_a_run_directory_that_refuses_its_lock(tmp_path):
    with Checkpointer(tmp_path, Config()):
        pass
    (tmp_path / ".lock").unlink()
    (tmp_path / ".lock").mkdir()
    with (
        pytest.raises(UserError, match="cannot be written"),
        Checkpointer(tmp_path, Config()),
    ):
        pass


def test_parameters_that_are_not_finite_are_neither_saved_nor_restored(tmp_path):
    with Checkpointer(tmp_path, Config()) as checkpointer:
        checkpointer.save(make_state(10, 0.5), make_progress())
        with pytest.raises(UserError, match=r"params\.dense\.kernel is not finite"):
            checkpointer.save(make_state(20, float("nan")), make_progress())
    saved = runs.checkpoint_dirs(tmp_path, "latest")
    assert [int(path.name) for path in saved] == [10]
    # One of an older version, with parameters that had been trained too far.
    path = saved[0].with_name(f"{30:012d}")
    shutil.copytree(saved[0], path)
    host, arrays = checkpoint_files.read_arrays(path)
    arrays["params.dense.kernel"] = np.full((2, 3), np.inf, np.float32)
    shutil.rmtree(path / "state")
    orbax.save(path / "state", arrays)
    (path / "host.json").write_text(json.dumps({**host, "frames": 30}))
    with (
        Checkpointer(tmp_path, Config()) as checkpointer,
        pytest.warns(UserWarning, match="kernel is not finite.*trying the one before"),
    ):
        assert checkpointer.restore_or(make_state(0)).frames == 10
