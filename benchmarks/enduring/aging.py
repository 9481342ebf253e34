"""What engines take and how fast they are as they play, replaced and not replaced."""

import contextlib
import os
import time
from typing import Any

import numpy as np

from enduring.fitting import slopes
from enduring.usage import usage


_ENVS, _STEPS = 8, 500
# Samples in the results; the slopes are those of all.
_KEPT = 100


def run(million_tics: float, engine_tics: int, seed: int) -> dict[str, Any]:
    """Play random actions in two pools by turns, for so many tics of each row.

    Args:
        million_tics: Tics of each row, in millions.
        engine_tics: After which the engines of the second pool are replaced; those of
            the first never are.
        seed: Of episodes and actions.

    Returns:
        Of each pool, the durations of steps in milliseconds, and `slopes` against the
        tics of a row, in millions.
    """
    from jaxfactory.config.env import EnvConfig
    from jaxfactory.envs.doom.pool import EnvPool

    rng = np.random.default_rng(seed)
    kinds = {"never replaced": 0, f"replaced after {engine_tics:,} tics": engine_tics}
    parts = {name: _Part() for name in kinds}
    with contextlib.ExitStack() as stack:
        pools = {
            name: stack.enter_context(
                EnvPool(EnvConfig(num_envs=_ENVS, engine_tics=tics), seed=seed)
            )
            for name, tics in kinds.items()
        }
        heads = next(iter(pools.values())).spec.action.heads
        for pool in pools.values():
            pool.reset()
        played = 0.0
        while played < million_tics:
            actions = rng.integers(0, heads, (_STEPS, _ENVS, len(heads)))
            played += _STEPS * EnvConfig.frame_skip / 1e6
            for name, pool in pools.items():
                parts[name].play(pool, actions.astype(np.int32), played)
            never, replaced = (part.samples[-1] for part in parts.values())
            # Of neighbors in time: whatever else runs slows both.
            replaced["speed_over_never_replaced"] = (
                replaced["frames_per_second"] / never["frames_per_second"]
            )
    return {
        "million_tics_of_each_engine": million_tics,
        "engines": _ENVS,
        "pools": {name: part.figures() for name, part in parts.items()},
    }


class _Part:
    """What was measured of one pool."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.samples: list[dict[str, float]] = []
        self.replaced = 0

    def play(self, pool: Any, actions: np.ndarray, played: float) -> None:
        before, pids = time.perf_counter(), pool.engine_pids
        begun = before
        for action in actions:
            pool.step(action)
            now = time.perf_counter()
            self.seconds.append(now - before)
            before = now
        self.replaced += sum(map(int.__ne__, pids, pool.engine_pids))
        frames = len(actions) * pool.num_envs * pool.frame_skip
        taken = usage(os.getpid(), pool.engine_pids)
        self.samples.append(
            {
                "million_tics": played,
                "engines_mb": taken["engines_mb"],
                "frames_per_second": frames / (before - begun),
            }
        )

    def figures(self) -> dict[str, Any]:
        milliseconds = 1000 * np.asarray(self.seconds)
        percentiles = {"50": 50, "99": 99, "99.9": 99.9, "99.99": 99.99, "100": 100}
        return {
            "engines_replaced": self.replaced,
            "milliseconds_of_a_step": {
                name: round(float(np.percentile(milliseconds, percent)), 2)
                for name, percent in percentiles.items()
            },
            "slopes": slopes(self.samples, over="million_tics"),
            "samples": self.samples[:: len(self.samples) // _KEPT + 1],
        }
