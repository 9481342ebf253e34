"""The record of what happened to policies: written, cut, and read again."""

import errno
import os
import shutil

import pytest

from jaxfactory._util.errors import UserError
from jaxfactory.population.history import Event, History, last_values, read


START = [Event(0, "start", i, {"learning_rate": 0.1 * (i + 1)}) for i in range(2)]
COPY = Event(100, "copy", 1, {"learning_rate": 1 / 3}, 0, -1.5, 2.25)
SKIP = Event(200, "skip", 0, {"learning_rate": 9.0})


def test_events_are_read_as_they_were_written(tmp_path):
    history = History(tmp_path)
    assert history.begin(0) == []
    history.add(START)
    history.add([COPY, SKIP])
    assert read(history.path) == [*START, COPY, SKIP]
    # What a third of 1 is in JSON is that number again; a skipped ranking sets nothing.
    assert last_values(read(history.path)) == {
        0: {"learning_rate": 0.1},
        1: {"learning_rate": 1 / 3},
    }


def test_events_after_the_checkpoint_are_dropped(tmp_path):
    history = History(tmp_path)
    history.add([*START, COPY, SKIP])
    assert history.begin(150) == [*START, COPY]
    assert read(history.path) == [*START, COPY]
    # Without a checkpoint, everything begins anew.
    assert history.begin(-1) == []
    assert read(history.path) == []


def test_a_removed_file_is_made_again(tmp_path):
    history = History(tmp_path / "run")
    history.path.parent.mkdir()
    history.add(START)
    shutil.rmtree(history.path.parent)
    history.add([COPY])
    history.add([SKIP])
    assert read(history.path) == [*START, COPY, SKIP]


def test_a_line_that_was_being_written_is_left_out(tmp_path):
    history = History(tmp_path)
    history.add(START)
    with history.path.open("a") as file:
        file.write('{"frames": 100, "kind": "co')
    assert history.begin(100) == START
    history.add([COPY])
    assert read(history.path) == [*START, COPY]


@pytest.mark.parametrize(
    "line",
    [
        "[1]",
        '{"frames": -1, "kind": "start", "policy": 0}',
        '{"frames": 1, "kind": "begin", "policy": 0}',
        '{"frames": 1, "kind": "copy", "policy": 0, "parent": true}',
        '{"frames": 1, "kind": "copy", "policy": 70000}',
        '{"frames": 1, "kind": "copy", "policy": 0, "score": 1e40}',
        '{"frames": 1, "kind": "copy", "policy": 0, "values": {"a": "b"}}',
        '{"frames": 1, "kind": "copy", "policy": 0, "other": 1}',
    ],
)
def test_hostile_lines_are_refused(tmp_path, line):
    (tmp_path / "population.jsonl").write_text(f"{line}\n{{}}\n")
    with pytest.raises(UserError, match=r"population.jsonl cannot be read: line 1"):
        read(tmp_path / "population.jsonl")


def test_a_directory_in_its_place_is_reported(tmp_path):
    (tmp_path / "population.jsonl").mkdir()
    history = History(tmp_path)
    with pytest.warns(UserWarning, match="training goes on without saving"):
        history.add(START)
    with pytest.raises(UserError, match=r"population.jsonl cannot be written"):
        history.check()


def test_events_wait_until_the_disk_has_space(tmp_path, monkeypatch):
    history = History(tmp_path)
    history.add(START)

    def full(handle):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.warns(UserWarning, match=r"cannot be written \(No space left"):
            history.add([COPY])
        history.add([SKIP])  # A second warning would be an error.
        assert not history.written
        assert not history.flush()
        # No part of them is left behind.
        assert read(history.path) == START
        with pytest.raises(UserError, match=r"No space left .* free disk space and"):
            history.check()
    assert history.flush()
    assert history.written
    history.check()
    assert read(history.path) == [*START, COPY, SKIP]
