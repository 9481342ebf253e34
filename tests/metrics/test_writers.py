"""Writers: JSON lines, TensorBoard and the terminal."""

import io
import json
import math
from pathlib import Path

import pytest
from rich.console import Console

from jaxfactory._util.errors import UserError
from jaxfactory.config import runs
from jaxfactory.metrics import metrics_file
from jaxfactory.metrics.jsonl_writer import JsonlWriter
from jaxfactory.metrics.tensorboard_writer import TensorBoardWriter
from jaxfactory.metrics.terminal_writer import TerminalWriter
from jaxfactory.metrics.writers import CompositeWriter


METRICS = {
    "episode/shaped_return": 9.5,
    "episode/shaped_return_min": 1.0,
    "episode/shaped_return_max": 20.0,
    "episode/raw_return": 4.25,
    "episode/raw_return_min": 2.0,
    "episode/raw_return_max": 8.0,
    "losses/policy_loss": -0.01234,
    "losses/entropy": 1.5,
    "losses/clip_fraction": 0.125,
    "pool/engine_restarts": 2.0,
}


def read_lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_jsonl_writes_one_object_a_write(tmp_path):
    writer = JsonlWriter(tmp_path)
    writer.begin(0)
    writer.write({"a": 1.0, "b": math.nan}, 10)
    # Readable at once, not only when the run has ended.
    assert read_lines(tmp_path / "metrics.jsonl") == [
        {"frames": 10, "a": 1.0, "b": None}
    ]
    writer.close()


def test_jsonl_drops_what_the_resumed_run_repeats(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"frames": 10}\n{"frames": 20}\n{"frames": 30}\n{"fra')
    writer = JsonlWriter(tmp_path)
    writer.begin(20)
    writer.write({}, 31)
    writer.close()
    assert [line["frames"] for line in read_lines(path)] == [10, 20, 31]


def test_jsonl_keeps_whatever_else_is_a_row(tmp_path):
    path = tmp_path / "metrics.jsonl"
    rows = [
        '{"frames": 5, "a": 1.0}',
        '{"a": 1, "frames": 15}',
        '{"frames": 30, "a": null}',
        '{"frames": 10, "evaluation/raw_return": 2.0}',
        '{"frames": 6, "a": {"frames": 7}',  # two writes, the first one incomplete
        '{"frames": 20}',
    ]
    path.write_text("\n".join(rows))
    writer = JsonlWriter(tmp_path)
    writer.begin(20)
    writer.close()
    assert path.read_text().splitlines() == [rows[i] for i in (0, 1, 3, 5)]
    path.write_text('{"frames": 1' + " " * 2**20 + "}")
    with pytest.raises(UserError, match="it is too large; move it away"):
        JsonlWriter(tmp_path).begin(20)


def test_of_a_long_run_some_iterations_are_read(tmp_path, monkeypatch):
    path = tmp_path / "metrics.jsonl"
    rows = [
        {"frames": n, "time/wall_clock": 2.0 * n, "time/act": 0.5, "time/update": n}
        for n in range(1, 101)
    ]
    rows.insert(50, {"frames": 40, "evaluation/raw_return": 2.0})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert len(metrics_file.read(path)) == 101
    monkeypatch.setattr(metrics_file, "_BYTES_READ", path.stat().st_size // 4)
    found = metrics_file.read(path)
    # The last of every five iterations, and the evaluation.
    assert len(found) == 21
    assert {"frames": 40, "evaluation/raw_return": 2.0} in found
    assert found[0] == {
        "frames": 5, "time/wall_clock": 10.0, "time/act": 2.5, "time/update": 15
    }  # fmt: skip
    assert found[-1]["frames"] == 100
    # Some are left over.
    rows += rows[-1:] * 2
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert metrics_file.read(path)[-1]["time/act"] == 1.0
    monkeypatch.setattr(metrics_file, "_MOST_ROWS", 10)
    with pytest.raises(UserError, match="more than 10 rows"):
        metrics_file.read(path)


def test_tensorboard_purges_what_the_resumed_run_repeats(tmp_path):
    from tensorboardX.proto.event_pb2 import Event, SessionLog

    big = 2**31 + 7
    for start, steps in ((0, (10, 20)), (10, (15, big))):
        writer = TensorBoardWriter(tmp_path)
        writer.begin(start)
        for step in steps:
            writer.write({"episode/shaped_return": 1.0}, step)
        writer.close()
    events = []
    for file in (tmp_path / "tensorboard").iterdir():
        data = file.read_bytes()
        while data:
            # A record: length (8), its checksum (4), the event, its checksum (4).
            size = int.from_bytes(data[:8], "little")
            events.append(Event.FromString(data[12 : 12 + size]))
            data = data[16 + size :]
    starts = [e.step for e in events if e.session_log.status == SessionLog.START]
    assert starts == [11]
    steps = sorted(e.step for e in events if e.summary.value)
    assert steps == [10, 15, 20, big]


def test_without_a_terminal_a_plain_line_every_few_seconds():
    now = [0.0]
    out = io.StringIO()
    writer = TerminalWriter(
        Path("runs/x"), 4000, Console(file=out), interval=5.0, clock=lambda: now[0]
    )
    writer.begin(0)
    for frames in (1000, 2000, 3000):
        now[0] += 2.0
        writer.write(METRICS, frames)
    writer.close()
    lines = out.getvalue().splitlines()
    # The first write, nothing 2 and 4 seconds after it, and the last state.
    assert lines[0] == "run directory runs/x"
    assert lines[1].startswith("frames 1,000/4,000 (25%) | 500 frames/s | 0:00:06 left")
    assert lines[2].startswith("frames 3,000/4,000 (75%)")
    assert len(lines) == 3
    assert "shaped return 9.50 [1.00, 20.00] | raw return 4.25 [2.00, 8.00]" in lines[1]
    assert "policy loss -0.0123" in lines[1]
    assert "clipped 12.5%" in lines[1]
    assert "\x1b" not in out.getvalue()


def test_on_a_terminal_a_live_display(monkeypatch):
    monkeypatch.delenv("JPY_PARENT_PID", raising=False)
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=100)
    writer = TerminalWriter(Path("runs/x"), 4000, console)
    writer.begin(0)
    writer.write(METRICS, 1000)
    writer.close()
    text = out.getvalue()
    for word in ("1,000 of 4,000 frames", "raw return", "engine restarts", "runs/x"):
        assert word in text


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (3, "| 3 policies 1.00 3.00* 2.00 |"),
        (9, "| 9 policies 3.00 (best: 1), median 2.00, worst 1.00 |"),
    ],
)
def test_several_policies_fit_into_a_line(count, words):
    now = [0.0]
    out = io.StringIO()
    writer = TerminalWriter(
        Path("runs/x"), 4000, Console(file=out), policies=count, clock=lambda: now[0]
    )
    writer.begin(0)
    now[0] = 2.0
    scores = [1.0, 3.0, *[2.0] * (count - 2)]
    each = {f"policy_{i}/raw_return": score for i, score in enumerate(scores)}
    writer.write({**METRICS, **each, "population/best_policy": 1.0}, 1000)
    line = out.getvalue().splitlines()[1]
    # 1,000 frames of each policy in 2 seconds; 3,000 are left.
    assert line.startswith("frames 1,000/4,000 (25%)")
    assert f"| {count * 500:,} frames/s | 0:00:06 left |" in line
    assert words in line


def test_in_a_notebook_plain_lines(monkeypatch):
    monkeypatch.setenv("JPY_PARENT_PID", "1")
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=100)
    writer = TerminalWriter(Path("runs/x"), 4000, console)
    writer.begin(0)
    writer.write(METRICS, 1000)
    writer.close()
    lines = out.getvalue().splitlines()
    assert lines[0] == "run directory runs/x"
    assert lines[1].startswith("frames 1,000/4,000 (25%)")
    assert len(lines) == 2


def test_a_file_of_something_else_is_begun_anew(tmp_path):
    (tmp_path / runs.METRICS).write_bytes(b"\xff\xfe\x00\n" + b'{"frames": 5}\n')
    with CompositeWriter(JsonlWriter(tmp_path)) as writer:
        writer.begin(5)
        writer.write({"a": 1.0}, 6)
    assert (tmp_path / runs.METRICS).read_text() == (
        '{"frames": 5}\n{"frames": 6, "a": 1.0}\n'
    )


def test_composite_hands_everything_on(tmp_path):
    class Recorder:
        def __init__(self):
            self.calls = []

        def begin(self, frames):
            self.calls.append(("begin", frames))

        def write(self, metrics, frames):
            self.calls.append((metrics, frames))

        def close(self):
            self.calls.append("close")

    first, second = Recorder(), Recorder()
    with CompositeWriter(first, second) as writer:
        writer.begin(5)
        writer.write({"a": 1.0}, 6)
    assert first.calls == second.calls == [("begin", 5), ({"a": 1.0}, 6), "close"]


def test_closing_without_beginning_is_harmless(tmp_path):
    # So it goes when the pool cannot start.
    with CompositeWriter(
        JsonlWriter(tmp_path), TensorBoardWriter(tmp_path), TerminalWriter(tmp_path, 1)
    ):
        pass
    assert list(tmp_path.iterdir()) == []
