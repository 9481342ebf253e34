"""Killing and stopping engines while an agent trains."""

import os
import random
import signal
import time
from pathlib import Path
from typing import Any

from enduring.trainer import SMALL, BrokenError, Trainer


# In `basic` every transition of a living engine has a reward: -1 for each tic.
_CALLBACK = '''
"""Counts transitions that no living engine can have made."""


def count(iteration):
    rollout = iteration.rollout
    unpaid = (rollout.reward == 0) & ~rollout.truncated
    return {"own/unpaid": unpaid.sum(), "own/truncated": rollout.truncated.sum()}
'''
_SETTLE_S = 15.0


def run(folder: Path, frames: int, every: float, seed: int) -> dict[str, Any]:
    """Train for some frames while an engine is killed or stopped every few seconds.

    Raises:
        BrokenError: If training ends early, or a failed engine is not counted.
    """
    chance = random.Random(seed)
    callback = folder / "chaos_callback.py"
    callback.write_text(_CALLBACK)
    flags = (
        "--scenario", "basic", *SMALL, "--total-frames", frames,
        "--callback", f"{callback}:count",
    )  # fmt: skip
    killed = stopped = 0
    with Trainer(folder / "chaos", flags) as trainer:
        trainer.wait_for_row(0)
        while trainer.process.poll() is None:
            time.sleep(every)
            engines = trainer.engines()
            if not engines or _nearly_done(trainer, frames):
                continue
            number = signal.SIGSTOP if chance.random() < 0.3 else signal.SIGKILL
            try:
                os.kill(chance.choice(engines), number)
            except ProcessLookupError:
                continue
            killed += number == signal.SIGKILL
            stopped += number == signal.SIGSTOP
            if number == signal.SIGSTOP:
                time.sleep(_SETTLE_S)  # It is replaced after 10 seconds.
        if trainer.process.returncode:
            raise BrokenError(f"training ended: {trainer.output()}")
        rows = trainer.rows()
    restarts = int(rows[-1]["pool/engine_restarts"])
    unpaid = int(sum(row["own/unpaid"] for row in rows))
    # A process may be killed that had been replaced already, or was just starting.
    if not restarts or restarts > killed + stopped or unpaid:
        raise BrokenError(
            f"{restarts} restarts and {unpaid} transitions without a reward"
        )
    return {
        "frames": rows[-1]["frames"],
        "engines_killed": killed,
        "engines_stopped": stopped,
        "engine_restarts": restarts,
        "transitions_without_a_living_engine": unpaid,
        "raw_return": rows[-1].get("episode/raw_return"),
    }


def _nearly_done(trainer: Trainer, frames: int) -> bool:
    rows = trainer.rows()
    return bool(rows) and rows[-1]["frames"] > 0.95 * frames
