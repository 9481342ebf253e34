"""Measures jaxfactory's pool behind Gymnasium's `VectorEnv` interface."""

from typing import Any

import numpy as np

from stepping.measuring import NUM_PREPARED, POOL_OPTIONS, Clock, Job, Setting, missing


def settings(cores: int) -> list[Setting]:
    """Return the settings to try on a number of cores."""
    return [
        {"num_envs": per_core * cores, "copy": copy}
        for copy, per_core in ((True, 8), (True, 4), (True, 16), (False, 8))
    ]


def run(job: Job) -> dict[str, Any]:
    """Measure `gymnasium.make_vec`: the caller steps all environments and waits."""
    try:
        import gymnasium

        import jaxfactory  # noqa: F401 - registers the environments
    except ImportError as error:
        raise missing("Gymnasium") from error
    envs = gymnasium.make_vec(
        "jaxfactory/Doom-v0", scenario=job.scenario, **POOL_OPTIONS, **job.setting
    )
    number = envs.num_envs
    envs.action_space.seed(0)
    actions = np.stack([envs.action_space.sample() for _ in range(NUM_PREPARED)])
    envs.reset(seed=0)
    clock, at = Clock(job), 0
    for _ in clock.windows():
        while clock.running():
            at = (at + 1) % NUM_PREPARED
            envs.step(actions[at])
            clock.steps += number
    envs.close()
    return clock.result()
