"""What many short episodes take of the machine, over several scenarios."""

import contextlib
import os
from typing import Any

import numpy as np

from enduring.fitting import slopes
from enduring.usage import shm_names, usage


# Short episodes, weapons and monsters, a large map, and matches with bots.
SCENARIOS = (
    "basic", "defend_the_center", "deadly_corridor", "predict_position", "my_way_home",
    "health_gathering_supreme", "take_cover", "battle", "deathmatch_bots",
)  # fmt: skip
# Decisions; a match would take thousands.
_LONGEST = 100
_SAMPLES = 40


def run(number: int, seed: int) -> dict[str, Any]:
    """Play random actions for so many episodes, as many in each scenario.

    Episodes are cut at 100 decisions. Of each scenario, `slopes` fits what the process
    and the engines take against the number of episodes, in thousands.
    """
    scenarios, left = {}, shm_names()
    for name in SCENARIOS:
        scenarios[name] = _play(name, -(-number // len(SCENARIOS)), seed)
    return {
        "episodes": sum(part["episodes"] for part in scenarios.values()),
        "engine_restarts": sum(part["engine_restarts"] for part in scenarios.values()),
        "shm_names_left_behind": len(shm_names() - left),
        "scenarios": scenarios,
    }


def _play(scenario: str, number: int, seed: int) -> dict[str, Any]:
    from jaxfactory.config.env import EnvConfig
    from jaxfactory.envs.doom.pool import EnvPool

    rng, samples = np.random.default_rng(seed), []
    episodes, restarts, due = 0, 0, 0.0
    config = EnvConfig(
        scenario=scenario, num_envs=8, timeout=4 * _LONGEST, measurements=False
    )
    with contextlib.closing(EnvPool(config, seed=seed)) as pool:
        heads = pool.spec.action.heads
        pool.reset()
        while episodes < number:
            actions = rng.integers(0, heads, (pool.num_envs, len(heads)))
            step = pool.step(actions.astype(np.int32))
            episodes += int((step.terminated | step.truncated).sum())
            restarts += int(np.count_nonzero(step.info.restarted))
            if episodes >= due:
                due += number / _SAMPLES
                samples.append(
                    {"thousands": episodes / 1000}
                    | usage(os.getpid(), pool.engine_pids)
                )
    return {
        "episodes": episodes,
        "engine_restarts": restarts,
        "slopes": slopes(samples, over="thousands"),
        "samples": samples,
    }
