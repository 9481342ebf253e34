"""The benchmark of splitting a run: bytes of collectives, the model, its table."""

import importlib.util
import json
import subprocess
import sys

import pytest
from places import ROOT


@pytest.fixture
def splitting(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return importlib.import_module


def test_the_model_is_arithmetic(splitting):
    model = splitting("splitting.model")
    # 3 hops there and 3 back, each with two messages and a quarter of 4 MB.
    seconds = model.ring_seconds(4, 2, 4_000_000, 1e9, 1e-4)
    assert seconds == pytest.approx(6 * (2 * 1e-4 + 1e-3))
    assert model.ring_seconds(1, 2, 4_000_000, 1e9, 1e-4) == 0
    measured = model.Measured(
        frames=4096, rollout_seconds=0.5, update_seconds=0.5, epochs=2,
        core_rate=25_000.0, all_reduces=20, all_reduce_bytes=25_000_000,
    )  # fmt: skip
    one, two = model.hosts(measured, (1, 2))
    assert (one["frames_per_second"], one["efficiency"]) == (4096, 1.0)
    # 2 hops of 20 messages of 50 microseconds and of 12.5 MB at 3.125 GB/s.
    assert two["collective_seconds"] == pytest.approx(0.002 + 0.008)
    assert two["frames_per_second"] == pytest.approx(8192 / 1.01)
    (gpu,) = model.gpus(measured, (1,))
    assert gpu["engines_frames_per_second"] == 96 * 25_000
    # 3e12 operations/s, 6.8e6 x 7 per sample, 4 frames per sample.
    assert gpu["frames_per_second"] == pytest.approx(252_100.8, rel=1e-6)


@pytest.mark.slow
@pytest.mark.vizdoom
def test_the_benchmark_runs_and_has_a_table(tmp_path):
    script = ROOT / "benchmarks" / "scaling.py"
    done = subprocess.run(
        [sys.executable, script, "--quick", "--out", tmp_path],
        capture_output=True, text=True, timeout=3000,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "scaling.json").read_text())
    assert len(report["training"]["doom"]) == len(report["updates"]) == 4
    one, two = (report["updates"][f"1 process, {n}"] for n in ("1 device", "2 devices"))
    assert one["1"]["all_reduce_bytes"] == one["4"]["reduce_scatter_bytes"] == 0
    # Two epochs of gradients of 3.4 million numbers or so, and no exchange.
    assert two["1"]["all_reduce_bytes"] > 1e6
    assert two["1"]["reduce_scatter_bytes"] == 0
    # Every observation twice: 2 epochs of 32 environments, 32 steps of 27,648 bytes.
    assert two["4"]["reduce_scatter_bytes"] > 2 * 32 * 32 * 27_648
    assert two["4"]["reduce_scatter_bytes"] < 2.1 * 32 * 32 * 27_648
    spec = importlib.util.spec_from_file_location(
        "make_docs", ROOT / "scripts" / "make_docs.py"
    )
    make_docs = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make_docs)
    make_docs.RESULTS = tmp_path
    assert make_docs.scaling().count("\n| 1 process, 2 devices |") == 3
