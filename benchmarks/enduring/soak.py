"""What a long training run takes of the machine over time, with fitted slopes."""

import time
from pathlib import Path
from typing import Any

import numpy as np

from enduring.trainer import BrokenError, Trainer


def run(folder: Path, minutes: float, scenario: str, every: float) -> dict[str, Any]:
    """Train for some minutes with the default preset; sample its use of the machine.

    Raises:
        BrokenError: If training ends early.
    """
    flags = ("--scenario", scenario, "--total-frames", 10**10)
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


def slopes(samples: list[dict[str, float]]) -> dict[str, dict[str, float]]:
    """Fit a line to each series over time, without its first quarter.

    Compiling and the first episodes take memory that a run keeps.

    Returns:
        By name: the mean, the slope per hour and its standard error.
    """
    after = samples[len(samples) // 4 :]
    found = {}
    for name in sorted({name for sample in after for name in sample} - {"hours"}):
        pairs = [(s["hours"], s[name]) for s in after if name in s]
        if len(pairs) < 3:
            continue
        hours, values = np.array(pairs, float).T
        centered = hours - hours.mean()
        slope = (centered * values).sum() / (centered**2).sum()
        rest = values - values.mean() - slope * centered
        error = np.sqrt((rest**2).sum() / (len(pairs) - 2) / (centered**2).sum())
        found[name] = {
            "mean": float(values.mean()),
            "per_hour": float(slope),
            "standard_error": float(error),
        }
    return found
