"""PyTorch files that a stranger made to do harm: each is refused in one sentence.

`test_hostile_runs` has the other files.
"""

import struct
import time
import tracemalloc
import zipfile

import numpy as np
import pytest
from hostile_runs import sentence
from places import EXPERIMENTS
from torch_writer import Storage, Tensor, tensor, write

from jaxfactory._util import plain_pickle
from jaxfactory._util.errors import UserError
from jaxfactory.sample_factory import torch_file


# Pickles.


def text(value):
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def program(*parts):
    return b"\x80\x02" + b"".join(parts) + b"."


ENCODE = b"c_codecs\nencode\nq\x00"
SIZE = b"ctorch\nSize\nq\x00"
LONG_TUPLE = b"(" + b"K\x01" * 2_000 + b"tq\x01"

BOMBS = {
    # 0.2 MB that grow to 200 MB.
    "a long text is copied by a function": program(
        b"(", ENCODE, text("x" * 190_000), b"q\x01", text("latin1"), b"q\x02",
        b"h\x00h\x01h\x02\x86R" * 1000, b"t",
    ),
    "many empty dictionaries": program(b"(", b"}" * 17_000, b"t"),
    "many remembered lists": program(b"(", b"]\x94" * 3_000, b"t"),
}  # fmt: skip


@pytest.mark.parametrize("name", BOMBS)
def test_a_pickle_that_makes_far_more_than_its_size(name, tmp_path):
    data = BOMBS[name]
    path = tmp_path / "x.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", data)
    tracemalloc.start()
    try:
        assert "far more memory than its own size" in sentence(torch_file.load, path)
        assert tracemalloc.get_traced_memory()[1] < 80 * len(data) + 2_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (program(b"]" * 2_000, b"a" * 1_999), "nested too deeply"),
        (program(b"K\x01", b"\x85" * 2_000), "nested too deeply"),
        (program(b"]q\x00h\x00a"), "nested too deeply"),
        # Twelve lists, each ten times in the next.
        (program(b"]q\x00", b"".join(
            b"](" + b"h" + bytes([n]) + (b"h" + bytes([n])) * 9 + b"eq" + bytes([n + 1])
            for n in range(12))), "far more memory than its own size"),
        (program(b"\x8b", struct.pack("<i", 60_000), b"\x7f" * 60_000), "128 bits"),
        # All have the hash 0, and would be compared with each other.
        (program(b"}(", b"".join(
            b"\x8a\x0c" + (number * (2**61 - 1)).to_bytes(12, "little") + b"N"
            for number in range(1, 2_000)), b"u"), "keys that are not plain"),
        (program(b"("), "a mark is left"),
        # A shape of 2,000 sizes, asked for again and again.
        (program(b"(", SIZE, LONG_TUPLE, b"h\x00h\x01\x85R" * 1_000, b"t"),
         "impossible shape"),
        (program(b"(cnumpy\ndtype\nq\x00", LONG_TUPLE, b"h\x00h\x01R" * 1_000, b"t"),
         "invalid or too many arguments"),
        (program(b"cnumpy.core.multiarray\nscalar\nNN\x86R"), "damaged NumPy number"),
        (program(b"(NNtQ"), "not a storage"),
        (program(b"(" + text("storage") + b"NNNNtQ"), "not a storage"),
        (program(text("x" * 300), b"Q"), "not a storage"),
        (program(b"c" + b"a" * 50_000 + b"\nb\n"), "which is not data"),
    ],
)  # fmt: skip
def test_a_pickle_that_is_a_trap(tmp_path, data, words):
    path = tmp_path / "x.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", data)
    start = time.perf_counter()
    assert words in sentence(torch_file.load, path)
    assert time.perf_counter() - start < 2.0


def test_a_pickle_of_an_agent_is_far_from_the_limit(monkeypatch):
    used = []
    check = plain_pickle._Machine.check_result

    def note(self):
        check(self)
        used.append(self._budget)

    monkeypatch.setattr(plain_pickle._Machine, "check_result", note)
    for name in ("gru", "lstm", "measurements"):
        file = max((EXPERIMENTS / name).rglob("*.pth"))
        torch_file.load(file)
        with zipfile.ZipFile(file) as archive:
            (member,) = (n for n in archive.namelist() if n.endswith("data.pkl"))
            size = len(archive.read(member))
        budget = plain_pickle._BYTES_PER_BYTE * size + plain_pickle._BYTES_AT_LEAST
        assert budget - used[-1] < 32 * size


# Archives.


def storage(size=1000):
    return Storage("FloatStorage", "0", np.zeros(size, np.float32))


def rewritten(path, change):
    """Write an archive's bytes again, changed."""
    path.write_bytes(change(path.read_bytes()))
    return path


def test_an_archive_with_a_name_that_is_no_text(tmp_path):
    path = write(tmp_path / "x.pth", [1], extra={"archive/\u00fc\u00fc": b""})
    rewritten(
        path, lambda data: data.replace("\u00fc\u00fc".encode(), b"\xff\xff\xfe\xfe")
    )
    assert "damaged or cut short" in sentence(torch_file.load, path)


def test_many_tensors_of_the_same_numbers(tmp_path):
    numbers = storage(100_000)
    value = [Tensor(numbers, 0, (100, 1000), (1000, 1)) for _ in range(100)]
    path = write(tmp_path / "x.pth", value)
    assert "far more than its numbers" in sentence(torch_file.load, path)
    # Some are shared in every agent's file.
    shared = write(tmp_path / "y.pth", value[:2])
    assert len(torch_file.load(shared)) == 2


def test_an_archive_of_nothing_but_members(tmp_path):
    path = tmp_path / "x.pth"
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(8_000):
            archive.writestr(f"a/{number:0250}", b"")
    start = time.perf_counter()
    assert "too many members" in sentence(torch_file.load, path)
    assert time.perf_counter() - start < 1.0


# Where a member's entry in the directory, and the archive's end, have what.
ENTRY, END = b"PK\x01\x02", b"PK\x05\x06"
MUCH = b"\xff\xff\xff\x7f"


def overwritten(data, sign, offset, value):
    """Return an archive with bytes set behind every such sign."""
    data = bytearray(data)
    start = data.find(sign)
    while start >= 0:
        data[start + offset : start + offset + len(value)] = value
        start = data.find(sign, start + 1)
    return bytes(data)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ((ENTRY, 8, b"\x01\x00"), "encrypted"),
        ((ENTRY, 6, b"\xff\xff"), "damaged"),  # The version that it takes.
        ((ENTRY, 10, b"\x63\x00"), "compressed"),
        ((ENTRY, 24, MUCH), "two sizes"),
        ((ENTRY, 20, MUCH + MUCH), "overlap"),
        ((ENTRY, 28, b"\xff\xff"), "no data.pkl"),  # The length of its name.
        ((ENTRY, 42, MUCH), "damaged"),  # Where it lies.
        ((END, 12, MUCH), "damaged"),
        ((END, 16, MUCH), "damaged"),
        ((END, 8, b"\xff\xff\xff\xff"), ""),
    ],
)
def test_an_archive_that_describes_itself_wrongly(tmp_path, change, words):
    path = write(tmp_path / "x.pth", [tensor(np.zeros(3, np.float32))])
    rewritten(path, lambda data: overwritten(data, *change))
    if words:
        assert words in sentence(torch_file.load, path)
    else:  # Python does not look at these.
        torch_file.load(path)


def test_other_odd_archives(tmp_path):
    one = tensor(np.zeros(3, np.float32))
    path = write(tmp_path / "order.pth", one, order="middle")
    assert "byteorder is b'middle'" in sentence(torch_file.load, path)
    two = Tensor(Storage("IntStorage", "0", storage(3).array), 0, (3,), (1,))
    path = write(tmp_path / "types.pth", [Tensor(storage(3), 0, (3,), (1,)), two])
    assert "of two types" in sentence(torch_file.load, path)
    with pytest.warns(UserWarning, match="Duplicate name"):
        path = write(tmp_path / "twice.pth", one, extra={"archive/data/0": b"\0" * 12})
    assert "overlap" in sentence(torch_file.load, path)
    odd = tmp_path / "odd.pth"
    with zipfile.ZipFile(odd, "w") as archive:
        archive.writestr("archive/data.pkl", program(b"K\x01"))
        archive.writestr("archive/byteorder", b"x" * 1000)
    assert "larger than 16 bytes" in sentence(torch_file.load, odd)


def test_a_message_does_not_show_the_whole_file(tmp_path):
    # A name in a member's header that goes on over the numbers behind it; found by
    # the fuzzer.
    file = next((EXPERIMENTS / "gru").glob("checkpoint_p0/*.pth"))
    data = bytearray(file.read_bytes())
    # Not UTF-8, in which the numbers would be none.
    flags = data.index(b"PK\x01\x02") + 8
    data[flags : flags + 2] = bytes(2)
    data[6:8] = bytes(2)
    data[26:28] = (6000).to_bytes(2, "little")
    file = tmp_path / "x.pth"
    file.write_bytes(data)
    with pytest.raises(UserError, match="is damaged or cut short") as error:
        torch_file.load(file)
    assert len(str(error.value)) < 600
