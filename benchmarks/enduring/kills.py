"""Killing the trainer at random moments, and resuming it each time."""

import itertools
import random
import time
from pathlib import Path
from typing import Any

from common import training
from common.processes import session_members

from enduring.trainer import SMALL, BrokenError, Trainer
from enduring.usage import unheld_names


# A checkpoint after nearly every update, so that many kills hit one that is written.
_FLAGS = (
    "--scenario", "basic", *SMALL, "--total-frames", "10000000",
    "--lr-schedule", "decay", "--schedule", "learning_rate=linear:0",
    "--checkpoint-minutes", "0.0001",
)  # fmt: skip
# Seconds after the first update in which a kill falls.
_LONGEST = 4.0
# Seconds in which an engine of another run may come to hold the lock of its name.
_STARTING = 60.0


def run(folder: Path, number: int, seed: int) -> dict[str, Any]:
    """Kill a trainer with SIGKILL so many times, and once with SIGTERM.

    Raises:
        BrokenError: If something is lost, damaged or left behind.
    """
    moments, place = random.Random(seed), folder / "kills"
    frames, while_writing, resumed = 0, 0, []
    for _ in range(number):
        with Trainer(place, _FLAGS) as trainer:
            # Every second one may hit the start, the others an update.
            if moments.random() < 0.8:
                trainer.wait_for_row(frames)
            time.sleep(moments.uniform(0.0, _LONGEST))
            trainer.kill()
            while_writing += (place / "checkpoints" / ".unfinished").exists()
            _nothing_left(trainer.process.pid)
        newest = _check(place, frames)
        resumed.append(newest)
        frames = newest
    with Trainer(place, _FLAGS) as trainer:
        trainer.wait_for_row(frames)
        seconds = trainer.terminate()
        _nothing_left(trainer.process.pid)
    last = _check(place, frames)
    return {
        "kills": number,
        "kills_while_a_checkpoint_was_written": while_writing,
        "frames_of_the_newest_checkpoint_after_each_kill": resumed,
        "seconds_from_sigterm_to_exit": round(seconds, 2),
        "frames_saved_by_sigterm": last,
    }


def _nothing_left(leader: int) -> None:
    deadline = time.monotonic() + 10.0
    while session_members(leader):
        if time.monotonic() > deadline:
            raise BrokenError(
                f"processes outlive their trainer: {session_members(leader)}"
            )
        time.sleep(0.05)
    # Other runs on this machine may have engines that are just starting.
    deadline, left = time.monotonic() + _STARTING, unheld_names()
    while left and time.monotonic() < deadline:
        time.sleep(1.0)
        left &= unheld_names()
    if left:
        raise BrokenError(f"names are left in /dev/shm: {sorted(left)}")


def _check(run: Path, before: int) -> int:
    """Return the frames of the newest checkpoint, after reading all of them."""
    from jaxfactory.checkpoints.checkpoint_files import read_arrays
    from jaxfactory.config import runs

    saved = runs.checkpoint_dirs(run, "latest")
    for path in saved:
        host, arrays = read_arrays(path)
        if host["frames"] != int(path.name) or not arrays:
            raise BrokenError(f"{path} is not the checkpoint of its name")
    newest = int(saved[-1].name) if saved else 0
    if newest < before:
        raise BrokenError(f"the checkpoint at {before} frames is lost")
    rows = training.read_metrics(run) if (run / "metrics.jsonl").exists() else []
    for one, other in itertools.pairwise(rows):
        if other["frames"] <= one["frames"]:
            raise BrokenError(f"{other['frames']} frames follow {one['frames']}")
        if other["losses/learning_rate"] >= one["losses/learning_rate"]:
            raise BrokenError("the learning rate does not continue to fall")
    return newest
