"""Lines fitted to what was sampled while something ran."""

import numpy as np


def slopes(
    samples: list[dict[str, float]], over: str = "hours"
) -> dict[str, dict[str, float]]:
    """Fit a line to each series of the samples, without their first quarter.

    Compiling and the first episodes take memory that a run keeps.

    Args:
        samples: Values by name, in the order in which they were taken.
        over: The name of what the lines are functions of.

    Returns:
        By name: the mean, the slope per unit of `over` and its standard error.
    """
    after = samples[len(samples) // 4 :]
    found = {}
    for name in sorted({name for sample in after for name in sample} - {over}):
        pairs = [(s[over], s[name]) for s in after if name in s]
        if len(pairs) < 3:
            continue
        at, values = np.array(pairs, float).T
        values -= (mean := values.mean())
        if np.abs(values).max() < 1e-9 * abs(mean):  # constant but for rounding
            values[:] = 0.0
        centered = at - at.mean()
        slope = (centered * values).sum() / (centered**2).sum()
        rest = values - slope * centered
        error = np.sqrt((rest**2).sum() / (len(pairs) - 2) / (centered**2).sum())
        found[name] = {
            "mean": float(mean),
            "slope": float(slope),
            "standard_error": float(error),
        }
    return found
