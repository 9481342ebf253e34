"""Fuzzers of the readers of files that strangers make.

Each feeds one reader with broken and invented files. The reader may return, or raise a
`UserError` of one line; it may do nothing else, nor take much longer or much more
memory than the file is worth.

    python tests/helpers/fuzz_readers.py READER SECONDS [SEED]
"""

import contextlib
import functools
import json
import resource
import shutil
import sys
import tempfile
import time
import tracemalloc
import warnings
from pathlib import Path
from unittest import mock

import fuzz_inputs
import hostile_runs
import jax
import numpy as np
import torch_writer
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import HypothesisWarning
from places import EXPERIMENTS

from jaxfactory._util.errors import UserError
from jaxfactory.checkpoints import checkpoint_files, export, manager
from jaxfactory.config import runs
from jaxfactory.config import train as config_lib
from jaxfactory.hub import model_card, push
from jaxfactory.report import report, run_data
from jaxfactory.sample_factory import convert as sample_factory
from jaxfactory.sample_factory import files as sample_factory_files
from jaxfactory.sample_factory import torch_file
from jaxfactory.scenarios import cfg_file
from jaxfactory.scenarios.maps import wad_files


# Of processor time for a file.
SECONDS = 5.0
# Of memory: for each byte of the file, and for any file.
BYTES_PER_BYTE, BYTES_AT_LEAST = 150, 20_000_000
# Orbax and the report's pages need some for themselves.
ADDRESS_SPACE = 24 * 2**30


@contextlib.contextmanager
def harmless(size, longest=1000):
    """Fail if the block raises anything but a short sentence, or takes too much."""
    tracemalloc.start()
    start = time.thread_time()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)
            # A report says so where it is without an evaluation.
            warnings.simplefilter("ignore", UserWarning)
            yield
    except UserError as error:
        said = str(error)
        assert "\n" not in said, said
        assert len(said) < longest, said
    finally:
        seconds = time.thread_time() - start
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert seconds < SECONDS, f"{seconds} s"
    assert peak < BYTES_PER_BYTE * size + BYTES_AT_LEAST, f"{peak} bytes of {size}"


@functools.cache
def folder():
    """Return a directory that is there as long as the process."""
    path = Path(tempfile.mkdtemp(prefix="jaxfactory-fuzz-"))
    import atexit

    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return path


def written(name, data):
    """Write a file and return its path."""
    path = folder() / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


@functools.cache
def agent(name="gru"):
    """Return an agent's .pth file of Sample Factory, and its settings."""
    folder = EXPERIMENTS / name
    (file,) = folder.rglob("*.pth")
    return file.read_bytes(), json.loads((folder / "config.json").read_text())


def read_torch_file(data):
    with harmless(len(data)):
        repr(torch_file.load(written("x.pth", data)))
    with harmless(len(data)):
        sample_factory_files.Checkpoint(folder() / "x.pth").model()


@st.composite
def _published(draw):
    files = dict(hostile_runs.packed_files())
    host = json.loads(files[export.HOST])
    files[export.HOST] = draw(fuzz_inputs.changed_json(host))
    for name in (export.MODEL, export.OPTIMIZER):
        kind = draw(st.integers(0, 5))
        if kind == 0:
            files[name] = draw(fuzz_inputs.changed_bytes(files[name]))
        elif kind == 1:
            length = int.from_bytes(files[name][:8], "little")
            header = json.loads(files[name][8 : 8 + length])
            text = draw(fuzz_inputs.changed_json(header))
            rest = files[name][8 + length :]
            files[name] = len(text).to_bytes(8, "little") + text + rest
        elif kind == 2:
            files.pop(name)
    return files


def read_checkpoint(files):
    packed, run = folder() / "packed", folder() / "unpacked"
    for path in (packed, run):
        shutil.rmtree(path, ignore_errors=True)
    for name, data in files.items():
        written(f"packed/{name}", data)
    with harmless(sum(map(len, files.values()))):
        frames = export.unpack(packed, run)
        made = runs.checkpoint_dirs(run, "latest")[-1]
        host, _ = checkpoint_files.read_arrays(made)
        assert host["frames"] == frames


def read_config(data):
    written("run/config.json", data)
    with harmless(len(data)):
        config = runs.load_config(folder() / "run")
        again = json.loads(json.dumps(config_lib.to_dict(config), allow_nan=False))
        assert config_lib.from_dict(again) == config


@functools.cache
def agents_values(name):
    """Return what an agent's .pth file holds."""
    return torch_file.load(written(f"{name}.pth", agent(name)[0]))


@st.composite
def _experiments(draw):
    name = draw(st.sampled_from(["gru", "lstm", "measurements"]))
    data, values = agent(name)
    # A broken pickle never comes as far as settings do.
    kind = draw(st.integers(0, 4))
    text = json.dumps(values).encode()
    if kind <= 1:
        text = draw(fuzz_inputs.changed_json(values))
    elif kind <= 3:
        held = draw(fuzz_inputs.changed_checkpoint(agents_values(name)))
        place = torch_writer.write(folder() / "made.pth", torch_writer.tensors(held))
        data = place.read_bytes()
    else:
        members = fuzz_inputs.members_of(data)
        pickled = next(n for n in members if n.endswith("data.pkl"))
        members[pickled] = draw(fuzz_inputs.changed_bytes(members[pickled], 2))
        data = fuzz_inputs.archive(members)
    return text, data


class Unwritten:
    """Stands for the run's checkpoints, without the time that a disk takes."""

    def __init__(self, run, config):
        run.mkdir(exist_ok=True)
        text = json.dumps(config_lib.to_dict(config), allow_nan=False)
        assert config_lib.from_dict(json.loads(text)) == config

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def save(self, state, progress):
        del progress
        leaves = jax.tree.leaves((state.params, state.opt_state, state.normalizer))
        assert all(np.isfinite(np.asarray(leaf)).all() for leaf in leaves)
        assert state.step >= 0


@functools.cache
def _warmed_up():
    """Import what an import needs, and let JAX begin, before memory is measured."""
    convert(*(json.dumps(agent()[1]).encode(), agent()[0]))


def convert(text, data):
    """Import an experiment, but for the writing of the run."""
    written("experiment/config.json", text)
    written("experiment/checkpoint_p0/checkpoint_000000007_123456.pth", data)
    shutil.rmtree(folder() / "made", ignore_errors=True)
    with mock.patch.object(manager, "Checkpointer", Unwritten):
        sample_factory.convert(folder() / "experiment", None, folder() / "made")


def read_experiment(files):
    _warmed_up()
    with harmless(sum(map(len, files))):
        convert(*files)


@st.composite
def _results(draw):
    evaluation = draw(fuzz_inputs.changed_json(hostile_runs.EVALUATION))
    lines = [json.dumps(hostile_runs.METRICS).encode()]
    for number in range(draw(st.integers(0, 6))):
        row = {**hostile_runs.METRICS, "frames": 300 + 100 * number}
        lines.append(draw(fuzz_inputs.changed_json(row)))
    return evaluation, b"\n".join(lines)


@functools.cache
def _run():
    run = hostile_runs.make_run(folder() / "shown")
    return run, runs.load_config(run)


def read_results(files):
    run, config = _run()
    evaluation, metrics = files
    (run / "evaluation.json").write_bytes(evaluation)
    (run / "metrics.jsonl").write_bytes(metrics)
    size = len(evaluation) + len(metrics)
    with harmless(size):
        page = report.render([run_data.read(run)])
        assert "\x1b" not in page
    with harmless(size):
        _, result, _ = push._evaluated(run)
        model_card.make_card("a/b", config, result, optimizer=True, video=False)


def read_cfg(data):
    # A line of the file is shown as a whole.
    with harmless(len(data), 20_000):
        cfg_file.read_cfg(written("x.cfg", data))


def read_wad(data):
    wad = written("x.wad", data)
    game = cfg_file.GameConfig(path=folder() / "x.cfg", scenario_path=wad.name)
    with harmless(len(data)):
        wad_files.find_map(game, wad)


READERS = {
    "torch": (read_torch_file, fuzz_inputs.torch_files(agent()[0])),
    "checkpoint": (read_checkpoint, _published()),
    "config": (
        read_config,
        fuzz_inputs.changed_json(config_lib.to_dict(config_lib.Config())),
    ),
    "sample_factory": (read_experiment, _experiments()),
    "results": (read_results, _results()),
    "cfg": (
        read_cfg,
        fuzz_inputs.cfg_files((Path(cfg_file.__file__).parent / "cfgs" /
                               "battle.cfg").read_bytes()),
    ),
    "wad": (read_wad, fuzz_inputs.wad_files()),
}  # fmt: skip


def fuzz(name, examples, start=None):
    """Feed a reader with so many files; the same ones each time, or those of a seed."""
    read, files = READERS[name]
    options = settings(
        max_examples=examples,
        derandomize=start is None,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink],
    )
    test = options(given(files)(lambda data: read(data)))
    with warnings.catch_warnings():
        # That a failing example is long.
        warnings.simplefilter("ignore", HypothesisWarning)
        (test if start is None else seed(start)(test))()


def main(name, seconds, start=0):
    """Feed a reader until the time is over; say how often."""
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    end, count = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        fuzz(name, 100, start + count)
        count += 1
    print(f"{name}: {100 * count} files from seed {start}")  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]), *map(int, sys.argv[3:]))
