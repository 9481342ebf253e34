"""What a long training run takes of the machine over time, with fitted slopes."""

import shutil
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from common.training import thinned

from enduring.fitting import slopes
from enduring.trainer import BrokenError, Trainer


# Of a turn: at first caches are cold, then it is measured.
_SETTLE_S, _TURN_S = 5.0, 20.0
# Samples that are kept in the results, about.
_KEPT = 100


def run(
    folder: Path,
    minutes: float,
    scenario: str,
    every: float,
    further: Sequence[str],
    turns: int = 0,
) -> dict[str, Any]:
    """Train for some minutes; sample what it takes of the machine.

    Args:
        folder: Where the run is written.
        minutes: From the first update on.
        scenario: What to train on, with its preset.
        every: Seconds between two samples.
        further: More flags for `jaxfactory train`.
        turns: At the end, of this run and of one that was just resumed from its newest
            checkpoint: whether training has become slower, whatever else runs.

    Raises:
        BrokenError: If training ends early.
    """
    flags = ("--scenario", scenario, "--total-frames", 10**10, *further)
    place = folder / f"soak-{scenario}"
    with Trainer(place, flags) as trainer:
        trainer.wait_for_row(0)
        start, samples = time.monotonic(), []
        while (now := time.monotonic() - start) < 60 * minutes:
            if trainer.process.poll() is not None:
                raise BrokenError(f"training ended: {trainer.output()}")
            rates = [row["throughput/frames_per_second"] for row in trainer.new_rows()]
            sample = {"hours": now / 3600, **trainer.use()}
            if rates:
                sample["frames_per_second"] = float(np.median(rates))
            samples.append(sample)
            time.sleep(every)
        rates = _in_turns(trainer, flags, turns) if turns else {}
        seconds, rows = trainer.terminate(), trainer.rows()
    return {
        "minutes": minutes,
        "scenario": scenario,
        "frames": rows[-1]["frames"],
        "engine_restarts": rows[-1]["pool/engine_restarts"],
        "seconds_from_sigterm_to_exit": round(seconds, 2),
        **rates,
        "slopes": slopes(samples),
        "samples": thinned(samples, _KEPT),
    }


def _in_turns(
    old: Trainer, flags: Sequence[object], turns: int
) -> dict[str, list[float] | float]:
    """Return frames/s of a run and of a copy that was just resumed, by turns."""
    copy = old.run.with_name(old.run.name + "-resumed")
    rates: tuple[list[float], list[float]] = ([], [])
    old.signal_all(signal.SIGSTOP)
    shutil.copytree(old.run, copy)
    try:
        with Trainer(copy, flags) as new:
            new.wait_for_row(0)
            new.rate(_TURN_S)  # It compiles.
            for _ in range(turns):
                for who, other, found in ((old, new, rates[0]), (new, old, rates[1])):
                    other.signal_all(signal.SIGSTOP)
                    who.signal_all(signal.SIGCONT)
                    time.sleep(_SETTLE_S)
                    found.append(who.rate(_TURN_S))
            new.signal_all(signal.SIGCONT)
    finally:
        old.signal_all(signal.SIGCONT)
    ratios = np.asarray(rates[0]) / np.asarray(rates[1])
    return {
        "frames_per_second_by_turns": [round(rate) for rate in rates[0]],
        "frames_per_second_by_turns_just_resumed": [round(rate) for rate in rates[1]],
        "speed_over_just_resumed": round(float(ratios.mean()), 4),
        "standard_error_of_that": round(
            float(ratios.std(ddof=1) / len(ratios) ** 0.5), 4
        ),
    }
