"""Files of torch.save, made here by hand: the format needs no PyTorch to write."""

import codecs
import collections
import os
import pickle
import zipfile

import numpy as np
import pytest
from torch_writer import Storage, Tensor, tensor, write

from jaxfactory._util import plain_pickle
from jaxfactory._util.errors import UserError
from jaxfactory.sample_factory import torch_file


def refusal(path):
    with pytest.raises(UserError) as caught:
        torch_file.load(path)
    return str(caught.value)


def test_plain_values_come_back(tmp_path):
    value = {
        "text": "gr\u00fcn", "numbers": [1, -2, 2**40, 2**80, 0.5],
        "flags": (True, None),
        "nested": collections.OrderedDict(a={"b": ()}, c=(1, 2, 3, 4)), 3: "three",
    }  # fmt: skip
    loaded = torch_file.load(write(tmp_path / "x.pth", value))
    assert loaded == {**value, "nested": {"a": {"b": ()}, "c": (1, 2, 3, 4)}}


def no_reference(reference):
    raise AssertionError(reference)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_protocol_that_is_still_written(protocol):
    value = {"a": [1, 2.5, "x" * 300, b"y" * 300], "b": ({}, (1, 2), [[]] * 2)}
    # Protocol 2 writes bytes as text and this call.
    symbols = {"_codecs.encode": codecs.encode}
    data = pickle.dumps(value, protocol)
    assert plain_pickle.loads(data, symbols, no_reference) == value


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [
        ("FloatStorage", np.float32), ("DoubleStorage", np.float64),
        ("HalfStorage", np.float16), ("LongStorage", np.int64),
        ("IntStorage", np.int32), ("BoolStorage", np.bool_),
        ("ByteStorage", np.uint8),
    ],
)  # fmt: skip
def test_tensors_of_every_type(tmp_path, kind, dtype):
    array = np.array([[0, 1, 2], [3, 0, 5]]).astype(dtype)
    loaded = torch_file.load(write(tmp_path / "x.pth", [tensor(array, kind)]))[0]
    assert loaded.dtype == dtype
    np.testing.assert_array_equal(loaded, array)


def test_bfloat16(tmp_path):
    # 1.0 is 0x3f80 and -2.5 is 0xc020: the upper halves of the float32.
    bits = np.array([0x3F80, 0xC020], np.uint16)
    loaded = torch_file.load(write(tmp_path / "x.pth", tensor(bits, "BFloat16Storage")))
    assert loaded.astype(np.float32).tolist() == [1.0, -2.5]


def test_transposed_shared_and_empty_tensors(tmp_path):
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    storage = Storage("FloatStorage", "0", array.ravel())
    value = {
        "transposed": Tensor(storage, 0, (3, 2), (1, 3)),
        "row": Tensor(storage, 3, (3,), (1,)),
        "number": Tensor(storage, 4, (), ()),
        "empty": Tensor(storage, 6, (0, 3), (3, 1)),
    }
    loaded = torch_file.load(write(tmp_path / "x.pth", value))
    np.testing.assert_array_equal(loaded["transposed"], array.T)
    np.testing.assert_array_equal(loaded["row"], [3, 4, 5])
    assert loaded["number"] == 4
    assert loaded["empty"].shape == (0, 3)
    assert not loaded["row"].flags.writeable


def test_numbers_of_a_big_endian_machine(tmp_path):
    array = np.array([1.5, -2.0], ">f4")
    path = write(tmp_path / "x.pth", tensor(array), order="big")
    assert torch_file.load(path).tolist() == [1.5, -2.0]


def test_a_numpy_scalar_becomes_a_number(tmp_path):
    value = {"best": np.float64(14.25), "count": np.int32(-7)}
    loaded = torch_file.load(write(tmp_path / "x.pth", value))
    assert loaded == {"best": 14.25, "count": -7}
    assert [type(number) for number in loaded.values()] == [float, int]


class Runs:
    """Would write a file when unpickled."""

    def __init__(self, function, *arguments):
        self.pair = (function, arguments)

    def __reduce__(self):
        return self.pair


@pytest.mark.parametrize("where", ["key", "value", "deep"])
def test_a_pickle_that_runs_something_is_refused(tmp_path, where):
    trace = tmp_path / "was_run"
    evil = Runs(os.mkdir, str(trace))
    value = {
        "key": {("x", evil): 1},
        "value": {"model": evil},
        "deep": [[({1: evil},)]],
    }
    path = write(tmp_path / "evil.pth", value[where])
    assert "asks for" in refusal(path)
    assert "mkdir, which is not data" in refusal(path)
    assert not trace.exists()
    # It is what Python's own unpickler would have run.
    pickle.loads(pickle.dumps(evil))
    assert trace.exists()


@pytest.mark.parametrize(
    ("pickled", "words"),
    [
        (b"\x80\x02cbuiltins\neval\nX\x01\x00\x00\x001\x85R.", "builtins.eval"),
        (b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x01x\x85R.", "os.system"),
        # Through a name that is allowed: its attributes, a method, its state.
        (b"\x80\x04\x8c\x05numpy\x8c\x0edtype.__init__\x93.", "numpy.dtype.__init__"),
        (b"\x80\x02ctorch\nFloatStorage\n)R.", "calls something"),
        (b"\x80\x02X\x01\x00\x00\x00x)R.", "calls something"),
        (b"\x80\x02ccollections\nOrderedDict\n)\x81.", "instruction NEWOBJ"),
        (b"(S'x'\nios\nsystem\n.", "instruction"),
        (b"\x80\x02\x82\x01.", "instruction EXT1"),
        (b"\x80\x02]}]K\x01s.", "keys that are not plain"),
        (b"\x80\x02}]K\x01s.", "keys that are not plain"),
        (b"\x80\x02NK\x01a.", "appends"),
        (b"\x80\x02h\x05.", "damaged"),
        (b"\x80\x02](K\x01", "damaged"),
        (b"", "damaged"),
        (b"\x80\x02cnumpy\ndtype\nX\x02\x00\x00\x00O8\x85R.", "NumPy 'O8'"),
    ],
)
def test_other_instructions_are_refused(tmp_path, pickled, words):
    with zipfile.ZipFile(tmp_path / "x.pth", "w") as archive:
        archive.writestr("archive/data.pkl", pickled)
    assert words in refusal(tmp_path / "x.pth")


@pytest.mark.parametrize(
    "changed",
    [
        {"offset": 1}, {"shape": (3, 3)}, {"strides": (3, 2)}, {"offset": -1},
        {"strides": (-3, 1)}, {"shape": (2,)}, {"shape": (10**9, 1), "strides": (0, 0)},
        {"shape": (2.0, 3)},
    ],
)  # fmt: skip
def test_a_tensor_stays_within_its_storage(tmp_path, changed):
    storage = Storage("FloatStorage", "0", np.zeros(6, np.float32))
    right = {"offset": 0, "shape": (2, 3), "strides": (3, 1)}
    torch_file.load(write(tmp_path / "x.pth", Tensor(storage, **right)))
    wrong = Tensor(storage, **{**right, **changed})
    assert "a tensor in it" in refusal(write(tmp_path / "y.pth", wrong))


def test_other_archives_are_refused(tmp_path):
    value = {"x": tensor(np.zeros(500, np.float32))}
    path = write(tmp_path / "x.pth", value, compression=zipfile.ZIP_DEFLATED)
    assert "compressed" in refusal(path)
    two = write(tmp_path / "y.pth", value, extra={"other/data.pkl": b""})
    assert "no data.pkl" in refusal(two)
    lost = Tensor(
        Storage("FloatStorage", "../1", np.zeros(3, np.float32)), 0, (2,), (1,)
    )
    lost.arguments[0].key = "1"
    path = write(tmp_path / "z.pth", lost)
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(tmp_path / "w.pth", "w") as new:
        new.writestr("archive/data.pkl", old.read("archive/data.pkl"))
    assert "data/1 is missing" in refusal(tmp_path / "w.pth")


def test_files_that_are_none(tmp_path):
    assert "No such file" in refusal(tmp_path / "nowhere.pth")
    whole = write(tmp_path / "x.pth", tensor(np.zeros(5000, np.float32)))
    cut = tmp_path / "cut.pth"
    cut.write_bytes(whole.read_bytes()[:12_000])
    assert "damaged or cut short" in refusal(cut)
    flipped = bytearray(whole.read_bytes())
    flipped[5000] ^= 1
    cut.write_bytes(flipped)
    assert "damaged (Bad CRC-32" in refusal(cut)
    cut.write_text("version https://git-lfs.github.com/spec/v1")
    assert "not written by torch.save" in refusal(cut)
    cut.write_bytes(b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M")
    assert "before version 1.6" in refusal(cut)
    cut.write_bytes(b"")
    assert "not written by torch.save" in refusal(cut)
