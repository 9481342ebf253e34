"""Measures one training run on several devices and processes, and extrapolates.

    python benchmarks/scaling.py            # run nothing else meanwhile
    python benchmarks/scaling.py --quick

The same environments in all are split over 1 and 2 processes, and over 1, 2 and 4 CPU
devices of a process. A CPU does not become faster by that: what is lost against one
process with one device is what the split costs. `splitting/model.py` computes what more
machines and GPUs would do.
"""

import argparse
import contextlib
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from common import machine, output, processes, training
from rich.console import Console
from splitting import model


ENVIRONMENTS = {
    "counting": "gymnasium:splitting.counting:Counting-v0",
    "doom": "health_gathering_supreme",
}
ENVS, STEPS, EPOCHS, FRAME_SKIP = 32, 32, 2, 4
# Rows of metrics that are not measured: they compile.
_SKIPPED = 3
_LOOK_S = 0.2
_START_S = 900.0
_HERE = Path(__file__).parent


class Split(NamedTuple):
    """How a run is split."""

    processes: int
    devices: int

    @property
    def title(self) -> str:
        """As it is named in the results."""
        process = "1 process" if self.processes == 1 else f"{self.processes} processes"
        device = "1 device" if self.devices == 1 else f"{self.devices} devices"
        return f"{process}, {device}"


SPLITS = (Split(1, 1), Split(2, 1), Split(1, 2), Split(1, 4))


def environment(split: Split) -> dict[str, str]:
    """Return the variables of a split's processes."""
    paths = [str(_HERE), os.environ.get("PYTHONPATH", "")]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "JAX_NUM_CPU_DEVICES": str(split.devices),
    }


def throughput(split: Split, scenario: str, rows: int) -> dict[str, Any]:
    """Train for so many updates; return frames/s and the seconds of each phase."""
    flags = [
        "train", "--preset", "default", "--scenario", scenario, "--num-envs",
        ENVS // split.processes, "--num-groups", 2, "--num-steps", STEPS,
        "--num-epochs", EPOCHS, "--num-minibatches", 4, "--devices", split.devices,
        "--total-frames", 10**9,
    ]  # fmt: skip
    if not scenario.startswith("gymnasium:"):
        flags += ["--frame-skip", FRAME_SKIP]
    launch = ["launch", "--processes", split.processes, "--"]
    with tempfile.TemporaryDirectory(prefix="jaxfactory-bench-") as folder:
        run = Path(folder) / "run"
        command = [*(launch if split.processes > 1 else []), *flags, "--run", run]
        with _running([*training.JAXFACTORY, *map(str, command)], split):
            limit = time.monotonic() + _START_S
            while time.monotonic() < limit:
                time.sleep(_LOOK_S)
                if not (run / "metrics.jsonl").is_file():
                    continue
                found = training.read_metrics(run)[_SKIPPED - 1 :]
                if len(found) > rows:
                    return _summary(found[: rows + 1])
    raise training.FailedError(f"{scenario} in {split.title} did not train")


def _summary(rows: list[dict[str, float]]) -> dict[str, Any]:
    first, last = rows[0], rows[-1]
    seconds = last["time/wall_clock"] - first["time/wall_clock"]
    phases = {name for row in rows[1:] for name in row if name.startswith("time/")}
    return {
        "frames_per_second": (last["frames"] - first["frames"]) / seconds,
        "frames": rows[1]["frames"] - first["frames"],
        "seconds": {
            name.removeprefix("time/"): statistics.mean(
                row.get(name, 0.0) for row in rows[1:]
            )
            for name in sorted(phases - {"time/wall_clock"})
        },
    }


@contextlib.contextmanager
def _running(command: list[str], split: Split) -> Iterator[None]:
    process = subprocess.Popen(
        command,
        env=environment(split),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        yield
    finally:
        failed = process.poll()
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=120)
        if failed:
            last = errors.decode(errors="replace").strip().splitlines()[-1:]
            raise training.FailedError(" ".join(["training failed:", *last]))


def updates(split: Split, rounds: int) -> dict[str, Any]:
    """Return what `splitting/worker.py` measures."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        place = f"127.0.0.1:{server.getsockname()[1]}"
    workers = [
        subprocess.Popen(
            [
                sys.executable, "-m", "splitting.worker", "--coordinator", place,
                "--num-processes", str(split.processes), "--process-id", str(number),
                "--devices", str(split.devices), "--rounds", str(rounds),
                "--envs", str(ENVS // split.processes),
            ],
            env=environment(split),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(split.processes)
    ]  # fmt: skip
    answers = [worker.communicate() for worker in workers]
    for worker, (_, errors) in zip(workers, answers, strict=True):
        if worker.returncode:
            last = errors.strip().splitlines()[-1:]
            raise training.FailedError(" ".join([f"{split.title}:", *last]))
    lines = [line for line in answers[0][0].splitlines() if line.startswith("{")]
    return json.loads(lines[-1])


def extrapolate(report: dict[str, Any], core_rate: float) -> dict[str, Any]:
    """Return the model's rows.

    Args:
        report: The measurements.
        core_rate: Frames/s that the engines of one core step, without acting.
    """
    one = report["training"]["doom"][SPLITS[0].title]
    update = report["updates"][SPLITS[0].title]["1"]
    split = report["updates"][SPLITS[1].title]["1"]
    phases = one["seconds"]
    measured = model.Measured(
        frames=int(one["frames"]),
        rollout_seconds=sum(
            phases.get(name, 0.0) for name in ("act", "engine_wait", "transfer")
        ),
        update_seconds=update["update_seconds"],
        epochs=EPOCHS,
        core_rate=core_rate,
        all_reduces=split["collectives"],
        all_reduce_bytes=split["all_reduce_bytes"],
    )
    return {
        "measured": measured._asdict(),
        "assumed": model.ASSUMED,
        "hosts": model.hosts(measured, (1, 2, 4, 8, 16)),
        "gpus": model.gpus(measured, (1, 2, 4, 8)),
    }


def core_rate() -> float:
    """Return the engines' frames/s per core, from the sampling benchmark's results."""
    found = json.loads((output.FOLDER / "fps_tuned.json").read_text())
    rate = found["contenders"]["jaxfactory"]["median"]
    return rate / found["machine"]["cores"]


def main() -> int:
    """Run the benchmark; return the exit code."""
    parser = argparse.ArgumentParser(prog="scaling.py", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few updates of each")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=output.FOLDER)
    options = parser.parse_args()
    processes.end_on_sigterm()
    rounds, rows, times = (1, 3, 3) if options.quick else (options.rounds, 20, 10)
    console = Console()
    report: dict[str, Any] = {"machine": machine.describe(), "training": {}}
    try:
        report["updates"] = {}
        for split in SPLITS:
            report["updates"][split.title] = updates(split, times)
            console.print(f"{split.title}: {report['updates'][split.title]}")
        for name, scenario in ENVIRONMENTS.items():
            report["training"][name] = _turns(console, scenario, rounds, rows)
    except training.FailedError as error:
        print(f"scaling.py: {error}", file=sys.stderr)
        return 1
    report["extrapolation"] = extrapolate(report, core_rate())
    output.write(console, report, options.out / "scaling.json")
    return 0


def _turns(
    console: Console, scenario: str, rounds: int, rows: int
) -> dict[str, dict[str, Any]]:
    """Let the splits take turns; return the round of median speed of each."""
    found: dict[Split, list[dict[str, Any]]] = {split: [] for split in SPLITS}
    for _ in range(rounds):
        for split in SPLITS:
            found[split].append(throughput(split, scenario, rows))
            rate = found[split][-1]["frames_per_second"]
            console.print(f"{scenario}, {split.title}: {rate:,.0f} frames/s")
    chosen = {}
    for split, each in found.items():
        each.sort(key=lambda one: one["frames_per_second"])
        chosen[split.title] = {
            **each[len(each) // 2],
            "all_frames_per_second": [one["frames_per_second"] for one in each],
        }
    return chosen


if __name__ == "__main__":
    sys.exit(main())
