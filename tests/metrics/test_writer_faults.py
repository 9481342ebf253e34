"""A full disk ends no training in a writer: what it cannot take is written later."""

import errno
import json
import os
import threading

import pytest

from jaxfactory.metrics.jsonl_writer import JsonlWriter
from jaxfactory.metrics.patient_file import PatientFile
from jaxfactory.metrics.tensorboard_writer import TensorBoardWriter
from jaxfactory.metrics.writers import CompositeWriter


class FullFile:
    """An open file that takes a few more bytes, and then none while it is full."""

    def __init__(self, file):
        self._file, self.room = file, 5

    def write(self, data):
        if self.room == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        taken = self._file.write(data[: self.room])
        self.room -= taken
        return taken

    def fileno(self):
        return self._file.fileno()

    def close(self):
        self._file.close()


def fill(patient: PatientFile) -> FullFile:
    patient._file = FullFile(patient._file)
    return patient._file


def test_lines_wait_until_the_disk_has_space(tmp_path):
    jsonl = JsonlWriter(tmp_path)
    writer = CompositeWriter(jsonl)
    writer.begin(0)
    writer.write({"a": 1.0}, 1)
    full = fill(jsonl._file)
    with pytest.warns(UserWarning, match="JsonlWriter cannot write .No space"):
        writer.write({"a": 1.0}, 2)
    for frames in (3, 4):  # Warnings are errors in these tests.
        writer.write({"a": 1.0}, frames)
    full.room = 10**6
    writer.write({"a": 1.0}, 5)
    writer.close()
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["frames"] for line in lines] == [1, 2, 3, 4, 5]


def test_a_disk_that_stays_full(tmp_path):
    jsonl = JsonlWriter(tmp_path)
    writer = CompositeWriter(jsonl)
    writer.begin(0)
    fill(jsonl._file)
    with pytest.warns(UserWarning, match="cannot write"):
        writer.write({}, 1)
    jsonl._file._waiting += bytes(2**24)
    writer.write({}, 2)
    assert len(jsonl._file._waiting) < 2**24 + 100
    writer.close()


def test_tensorboard_waits_until_the_disk_has_space(tmp_path):
    board = TensorBoardWriter(tmp_path)
    writer = CompositeWriter(board)
    writer.begin(0)
    full = fill(board._file)
    metrics = {f"a/{i}": 1.0 for i in range(20)}
    with pytest.warns(UserWarning, match="TensorBoardWriter cannot write"):
        writer.write(metrics, 0)
    for frames in range(1, 100):
        writer.write(metrics, frames)
    full.room = 10**7
    writer.close()
    (file,) = (tmp_path / "tensorboard").iterdir()
    data, records = file.read_bytes(), 0
    while data:
        # A record: length (8), its checksum (4), the event, its checksum (4).
        data = data[16 + int.from_bytes(data[:8], "little") :]
        records += 1
    # The file's version, and one for each write.
    assert records == 101


def test_an_output_that_nobody_reads_is_left_alone(tmp_path):
    class Closed(JsonlWriter):
        calls = 0

        def write(self, metrics, frames):
            self.calls += 1
            raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    class Terminal(Closed):
        def note(self, text):
            pass

    terminal, other = Terminal(tmp_path), Closed(tmp_path)
    writer = CompositeWriter(terminal)
    assert not writer.left
    for _ in range(2):
        writer.write({}, 1)
    assert writer.left
    assert terminal.calls == 1
    # Of a service that takes metrics, it is an error like others.
    writer = CompositeWriter(other)
    with pytest.warns(UserWarning, match="Broken pipe"):
        writer.write({}, 1)
    assert not writer.left


def test_a_writer_that_fails_in_any_way_does_not_end_training(tmp_path):
    class Broken(JsonlWriter):
        def write(self, metrics, frames):
            raise LookupError("no such project")

    with CompositeWriter(Broken(tmp_path), JsonlWriter(tmp_path)) as writer:
        writer.begin(0)
        with pytest.warns(UserWarning, match=r"Broken cannot write \(LookupError: no"):
            writer.write({}, 1)
        writer.write({}, 2)  # A second warning would be an error.
    assert (tmp_path / "metrics.jsonl").read_text().count("frames") == 2


def test_writers_need_no_threads(tmp_path, monkeypatch):
    """Where the system allows no more of them, tensorboardX's waits for ever."""

    def refuse(thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with CompositeWriter(JsonlWriter(tmp_path), TensorBoardWriter(tmp_path)) as writer:
        writer.begin(0)
        writer.write({"a": 1.0}, 1)
    (file,) = (tmp_path / "tensorboard").iterdir()
    assert b"a" in file.read_bytes()
    assert (tmp_path / "metrics.jsonl").read_text() == '{"frames": 1, "a": 1.0}\n'
