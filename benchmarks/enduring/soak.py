"""What a long training run takes of the machine over time, with fitted slopes."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from enduring.fitting import slopes
from enduring.trainer import BrokenError, Trainer


def run(
    folder: Path, minutes: float, scenario: str, every: float, further: Sequence[str]
) -> dict[str, Any]:
    """Train for some minutes; sample what it takes of the machine.

    Args:
        folder: Where the run is written.
        minutes: From the first update on.
        scenario: What to train on, with its preset.
        every: Seconds between two samples.
        further: More flags for `jaxfactory train`.

    Raises:
        BrokenError: If training ends early.
    """
    flags = ("--scenario", scenario, "--total-frames", 10**10, *further)
    place = folder / f"soak-{scenario}"
    with Trainer(place, flags) as trainer:
        trainer.wait_for_row(0)
        start, samples, done = time.monotonic(), [], 0
        while (now := time.monotonic() - start) < 60 * minutes:
            if trainer.process.poll() is not None:
                raise BrokenError(f"training ended: {trainer.output()}")
            rows = trainer.rows()
            rates = [row["throughput/frames_per_second"] for row in rows[done:]]
            done = len(rows)
            sample = {"hours": now / 3600, **trainer.use()}
            if rates:
                sample["frames_per_second"] = float(np.median(rates))
            samples.append(sample)
            time.sleep(every)
        seconds, rows = trainer.terminate(), trainer.rows()
    return {
        "minutes": minutes,
        "scenario": scenario,
        "frames": rows[-1]["frames"],
        "engine_restarts": rows[-1]["pool/engine_restarts"],
        "seconds_from_sigterm_to_exit": round(seconds, 2),
        "slopes": slopes(samples),
        "samples": samples,
    }
