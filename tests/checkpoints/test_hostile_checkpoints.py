"""Checkpoints that a stranger made to do harm: each is refused with one message."""

import json
import re

import numpy as np
import pytest
from hostile_runs import (
    FRAMES,
    checkpoint,
    host_with,
    make_run,
    pack,
    packed_files,
    sentence,
)
from safetensors.numpy import load, save

from jaxfactory.checkpoints import checkpoint_files, export, tensor_file


EPISODES = {"total": 5, "rows": [[1.0, 1.0, 3.0]]}
HOSTS = [
    ({"frames": -1}, "its frames is -1"),
    ({"frames": True}, "its frames is True"),
    ({"frames": "5"}, "its frames is '5'"),
    ({"frames": 2**60}, "its frames is 1152921504606846976"),
    ({"frames": 5.0}, "its frames is 5.0"),
    ({"frames": float("nan")}, "its frames is nan"),
    ({"seconds": float("nan")}, "its seconds is nan"),
    ({"seconds": "long"}, "its seconds is 'long'"),
    ({"seconds": None}, "its seconds is None"),
    ({"best": "high"}, "its best is 'high'"),
    ({"best": [1]}, "its best is [1]"),
    ({"best": float("inf")}, "its best is inf"),
    ({"best_by": "me"}, "its best_by is 'me'"),
    ({"episodes": None}, "its episodes is None"),
    ({"episodes": {**EPISODES, "total": -1}}, "its episodes is {"),
    ({"episodes": {**EPISODES, "rows": [[1.0]]}}, "its episodes is {"),
    ({"episodes": {**EPISODES, "rows": [["a", 1.0, 1.0]]}}, "its episodes is {"),
    ({"episodes": {**EPISODES, "rows": [[1.0] * 3] * 20_000}}, "its episodes is {"),
    ({"leaves": []}, "its leaves do not"),
    ({"leaves": {"a": 3}}, "its leaf a is 3"),
    ({"leaves": {"a": "object[3]"}}, "its leaf a is 'object[3]'"),
    ({"leaves": {"a": "float32[-3]"}}, "its leaf a is 'float32[-3]'"),
    ({"leaves": {"a": "float32[1e9]"}}, "its leaf a is 'float32[1e9]'"),
    ({"leaves": {"a": "float32[" + "9" * 5000 + "]"}}, "its leaf a is 'float32[999"),
    ({"leaves": {"a": "float32[9999999999]"}}, "GiB in total"),
    ({"leaves": {"a": "float32[" + "9," * 40 + "9]"}}, "its leaf a is 'float32[9,9"),
    ({"leaves": {"\x1b[2J": "float32[]"}}, "invalid name"),
    ({"leaves": {f"x{n}": "float32[]" for n in range(20_000)}}, "its leaves do not"),
]


@pytest.mark.parametrize(("changes", "words"), HOSTS, ids=range(len(HOSTS)))
def test_a_checkpoint_that_is_described_oddly(tmp_path, changes, words):
    text = json.dumps(host_with(**changes))
    folder = pack(tmp_path / "packed", **{export.HOST: text.encode()})
    assert words in sentence(export.unpack, folder, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    # The same in a directory that was handed over.
    run = make_run(tmp_path / "given")
    (checkpoint(run) / "host.json").write_text(text)
    with pytest.raises(ValueError, match=re.escape(words)):
        checkpoint_files.read_arrays(checkpoint(run))


@pytest.mark.parametrize("form", [True, "1", None, -0.5, [1]])
def test_a_checkpoint_of_an_odd_format(tmp_path, form):
    text = json.dumps(host_with(format=form))
    folder = pack(tmp_path / "packed", **{export.HOST: text.encode()})
    assert "has no format" in sentence(export.unpack, folder, tmp_path / "run")


@pytest.mark.parametrize(
    "leaf",
    [
        {"opt_state.0.mu.big": "float32[350000000]"},
        {"opt_state.0.mu.encoder.measurements_0.kernel": "float32[9000,9000]"},
        {"opt_state.0.mu.encoder.measurements_0.kernel": "float64[4,32]"},
        {f"opt_state.{n}.encoder.measurements_1.kernel": "float32[32,32]"
         for n in range(200)},
        {f"opt_state.{n}": "float64[16]" for n in range(5000)},
        {"opt_state.9.x": "float32[17]"},
    ],
    ids=range(6),
)  # fmt: skip
def test_missing_arrays_are_bound_by_the_models(tmp_path, leaf):
    host = host_with()
    assert "params.encoder.measurements_0.kernel" in host["leaves"]
    host["leaves"] |= leaf
    text = json.dumps(host).encode()
    without = {export.OPTIMIZER: None, export.HOST: text}
    folder = pack(tmp_path / "packed", **without)
    words = "does not match checkpoint.json (opt_state."
    assert words in sentence(export.unpack, folder, tmp_path / "run")
    # Without the odd ones they are filled with zeros.
    whole = pack(tmp_path / "whole", **{export.OPTIMIZER: None})
    assert export.unpack(whole, tmp_path / "made") == FRAMES


def header_with(**changes):
    """Return the model's file with entries of its header changed."""
    data = packed_files()[export.MODEL]
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    name = "params.encoder.measurements_0.kernel"
    header[name] = {**header[name], **changes}
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data[8 + length :]


TENSORS = [
    (b"", "cut short"),
    (b"\xff" * 8, "cut short"),
    ((2**23).to_bytes(8, "little") + b" " * 2**23, "its header has 8,388,608 bytes"),
    ((100_000).to_bytes(8, "little") + b"[" * 100_000, "nested too deeply"),
    ((4).to_bytes(8, "little") + b"null", "not a list of arrays"),
    (header_with, {"dtype": "BF16"}, "is described as"),
    (header_with, {"dtype": ["F32"]}, "is described as"),
    (header_with, {"shape": [-4, -32]}, "is described as"),
    (header_with, {"shape": [2**62, 4]}, "is described as"),
    (header_with, {"shape": [True, 128]}, "is described as"),
    (header_with, {"data_offsets": [0, 10**12]}, "is described as"),
    (header_with, {"data_offsets": [10**9, 10**9 + 512]}, "has invalid offsets"),
]


@pytest.mark.parametrize("case", TENSORS, ids=range(len(TENSORS)))
def test_arrays_that_are_described_oddly(tmp_path, case):
    *made, words = case
    data = made[0](**made[1]) if callable(made[0]) else made[0]
    folder = pack(tmp_path / "packed", **{export.MODEL: data})
    assert words in sentence(export.unpack, folder, tmp_path / "run")


def test_arrays_are_read_as_the_formats_own_library_reads_them(tmp_path):
    arrays = {
        "a": np.arange(6.0).reshape(2, 3),
        "b": np.array(True),
        "c": np.zeros((0, 3), np.int8),
        "d": np.arange(3, dtype=np.uint32),
    }
    (tmp_path / "x").write_bytes(save(arrays, metadata={"x": "y"}))
    ours, theirs = tensor_file.load(tmp_path / "x"), load((tmp_path / "x").read_bytes())
    assert ours.keys() == theirs.keys()
    for name, array in theirs.items():
        assert ours[name].dtype == array.dtype
        np.testing.assert_array_equal(ours[name], array)


def test_frames_that_are_not_the_models(tmp_path):
    text = json.dumps(host_with(frames=FRAMES + 1)).encode()
    folder = pack(tmp_path / "packed", **{export.HOST: text})
    assert "(frames)" in sentence(export.unpack, folder, tmp_path / "run")
