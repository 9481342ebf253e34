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


@pytest.mark.timeout(60)
def test_tensorboard_does_not_wait_for_ever(tmp_path):
    board = TensorBoardWriter(tmp_path)
    writer = CompositeWriter(board)
    writer.begin(0)
    full = fill(board._file)

    def write():
        for frames in range(100):
            writer.write({f"a/{i}": 1.0 for i in range(20)}, frames)

    thread = threading.Thread(target=write, daemon=True)

    def wait():
        thread.start()
        thread.join(30)

    with pytest.warns(UserWarning, match="TensorBoardWriter cannot write"):
        wait()
    assert not thread.is_alive()
    full.room = 10**7
    writer.close()
    (file,) = (tmp_path / "tensorboard").iterdir()
    data, records = file.read_bytes(), 0
    while data:
        # A record: length (8), its checksum (4), the event, its checksum (4).
        data = data[16 + int.from_bytes(data[:8], "little") :]
        records += 1
    assert records >= 2000


def test_whoever_stops_reading_ends_the_command(tmp_path):
    class Closed(JsonlWriter):
        def write(self, metrics, frames):
            raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        CompositeWriter(Closed(tmp_path)).write({}, 1)


def test_the_thread_that_writes_survives_each_start(tmp_path):
    """It has something to write at once when a run is resumed."""
    for frames in range(30):
        writer = TensorBoardWriter(tmp_path)
        writer.begin(frames)
        worker = writer._writer.file_writer.event_writer._worker
        writer.write({"a": 1.0}, frames)
        assert worker.is_alive()
        writer.close()
