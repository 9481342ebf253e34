"""Killing and stopping engines while an agent trains, and what that costs in score."""

import os
import random
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from enduring.trainer import BrokenError, Trainer


# In `basic` every transition of a living engine has a reward: -1 for each tic.
_CALLBACK = '''
"""Counts transitions that no living engine can have made."""


def count(iteration):
    rollout = iteration.rollout
    unpaid = (rollout.reward == 0) & ~rollout.truncated
    return {"own/unpaid": unpaid.sum(), "own/truncated": rollout.truncated.sum()}
'''
_SETTLE_S = 15.0


def run(
    folder: Path, frames: int, every: float, seeds: Sequence[int]
) -> dict[str, Any]:
    """Train while an engine is killed or stopped every few seconds; and undisturbed.

    Args:
        folder: Where the runs are written.
        frames: Frames of each run.
        every: Seconds between two failures.
        seeds: Each trains once disturbed and once undisturbed.

    Raises:
        BrokenError: If training ends early, or a failed engine is not counted.
    """
    callback = folder / "chaos_callback.py"
    callback.write_text(_CALLBACK)
    flags = (
        "--scenario", "basic", "--num-envs", 16, "--ent-coef", 0.001,
        "--total-frames", frames, "--callback", f"{callback}:count",
    )  # fmt: skip
    disturbed, undisturbed = [], []
    for seed in seeds:
        disturbed.append(
            _train(folder / f"chaos-{seed}", (*flags, "--seed", seed), every)
        )
        undisturbed.append(_train(folder / f"calm-{seed}", (*flags, "--seed", seed)))
    counted = ("engines_killed", "engines_stopped", "engine_restarts")
    result: dict[str, Any] = {
        "seeds": len(seeds),
        "frames_of_each_run": frames,
        **{name: sum(run[name] for run in disturbed) for name in counted},
        "transitions_without_a_living_engine": sum(
            run["unpaid"] for run in (*disturbed, *undisturbed)
        ),
    }
    for name, runs in (("disturbed", disturbed), ("undisturbed", undisturbed)):
        returns = [run["raw_return"] for run in runs]
        result[f"raw_returns_{name}"] = returns
        if len(returns) > 1:
            result[f"raw_return_{name}"] = float(np.mean(returns))
            result[f"standard_error_{name}"] = float(
                np.std(returns, ddof=1) / len(returns) ** 0.5
            )
    return result


def _train(place: Path, flags: Sequence[object], every: float = 0.0) -> dict[str, Any]:
    """Train; with `every`, an engine is killed or stopped at these intervals."""
    chance = random.Random(place.name)
    frames = flags[flags.index("--total-frames") + 1]
    killed = stopped = 0
    with Trainer(place, flags) as trainer:
        trainer.wait_for_row(0)
        while trainer.process.poll() is None:
            time.sleep(every or 1.0)
            engines = trainer.engines()
            if not every or not engines or _nearly_done(trainer, frames):
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
    if bool(restarts) != bool(every) or restarts > killed + stopped or unpaid:
        raise BrokenError(
            f"{restarts} restarts and {unpaid} transitions without a reward"
        )
    return {
        "engines_killed": killed,
        "engines_stopped": stopped,
        "engine_restarts": restarts,
        "unpaid": unpaid,
        "raw_return": rows[-1].get("episode/raw_return"),
    }


def _nearly_done(trainer: Trainer, frames: int) -> bool:
    rows = trainer.rows()
    return bool(rows) and rows[-1]["frames"] > 0.95 * frames
