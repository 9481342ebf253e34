"""Measures EnvPool in its synchronous and its asynchronous mode."""

from typing import Any

import numpy as np

from jaxfactory.scenarios import scenario_table
from stepping.measuring import (
    FRAME_SKIP,
    HEIGHT,
    NUM_PREPARED,
    WIDTH,
    Clock,
    Job,
    Setting,
    UnavailableError,
    camel,
    missing,
)


def settings(cores: int) -> list[Setting]:
    """Return the settings to try on a number of cores."""

    def setting(num_envs: int, batch_size: int, num_threads: int, pin: bool = False):
        return {
            "num_envs": num_envs * cores,
            "batch_size": batch_size * cores,
            "num_threads": num_threads * cores,
            "thread_affinity_offset": 0 if pin else -1,
        }

    return [
        setting(4, 4, 4),
        setting(4, 4, 1),
        setting(4, 4, 2),
        setting(8, 8, 1),
        setting(8, 8, 8),
        setting(16, 16, 2),
        setting(4, 2, 4),
        setting(8, 4, 2),
        setting(16, 4, 4),
        setting(4, 4, 1, pin=True),
        setting(8, 4, 1, pin=True),
    ]


def run(job: Job) -> dict[str, Any]:
    """Measure EnvPool with our .cfg."""
    try:
        import envpool
    except ImportError as error:
        raise missing("EnvPool") from error
    name = f"{camel(job.scenario)}-v1"
    if name not in envpool.list_all_envs():
        raise UnavailableError(f"EnvPool has no environment {name}")
    envs = envpool.make_gymnasium(
        name,
        img_height=HEIGHT,
        img_width=WIDTH,
        stack_num=1,
        frame_skip=FRAME_SKIP,
        use_combined_action=True,
        # The faster of its two resize filters.
        use_inter_area_resize=False,
        # The same buttons and rendering options as the others; the size is ignored.
        cfg_path=str(scenario_table.find(job.scenario).cfg),
        **job.setting,
    )
    try:
        return _step(envs, job)
    finally:
        envs.close()


def _step(envs, job: Job) -> dict[str, Any]:
    batch = job.setting["batch_size"]
    actions = np.random.default_rng(0).integers(
        0, envs.action_space.n, (NUM_PREPARED, batch)
    )
    clock = Clock(job)
    at = 0
    # The asynchronous interface; with a batch of all environments it is synchronous.
    envs.async_reset()
    for _ in clock.windows():
        while clock.running():
            info = envs.recv()[-1]
            at = (at + 1) % NUM_PREPARED
            envs.send(actions[at], info["env_id"])
            # The call after the end of an episode resets and steps no frame.
            clock.steps += batch - int((info["elapsed_step"] == 0).sum())
    return clock.result()
