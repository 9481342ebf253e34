"""Measures Gymnasium's `AsyncVectorEnv` with ViZDoom's own environment."""

import os
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
    UnavailableError,
    camel,
    missing,
    resizer,
    settle,
)


def run(job: Job) -> dict[str, Any]:
    """Measure it with our .cfg, rendered at 160x120."""
    return _measure(job, same_engine=True)


def run_as_shipped(job: Job) -> dict[str, Any]:
    """Measure it with its own .cfg, rendered at 320x240."""
    return _measure(job, same_engine=False)


def _measure(job: Job, *, same_engine: bool) -> dict[str, Any]:
    """Measure `AsyncVectorEnv` with ViZDoom's environment.

    Args:
        job: The measurement.
        same_engine: Use our .cfg and 160x120 instead of the environment's own.
    """
    os.environ["PYGAME_HIDE_SUPPORT_PROMPT"] = "1"
    try:
        import gymnasium
        import vizdoom
        import vizdoom.gymnasium_wrapper  # registers the environments
    except ImportError as error:
        raise missing("Gymnasium") from error
    name = f"Vizdoom{camel(job.scenario)}-v1"
    if name not in gymnasium.registry:
        raise UnavailableError(f"ViZDoom has no Gymnasium environment {name}")
    options: dict[str, Any] = {"max_buttons_pressed": 1}
    if same_engine:
        scenario = scenario_table.find(job.scenario)
        options |= {
            "scenario_config_file": str(scenario.cfg),
            "doom_scenario_path": str(scenario_table.find_wad(scenario.load())),
            "screen_resolution": vizdoom.ScreenResolution.RES_160X120,
        }
    parent = os.getpid()
    resize = resizer()

    class Delivered(gymnasium.ObservationWrapper):
        """Return the resized image only."""

        def __init__(self, env):
            super().__init__(env)
            shape = (HEIGHT, WIDTH, 3)
            self.observation_space = gymnasium.spaces.Box(0, 255, shape, np.uint8)

        def observation(self, observation):
            image = np.empty((HEIGHT, WIDTH, 3), np.uint8)
            resize(observation["screen"], image)
            return image

    def make(index: int):
        # AsyncVectorEnv also makes one in the parent, for its spaces.
        if os.getpid() != parent:
            settle(index, pin=job.setting["pin"])
        env = gymnasium.make(
            name, frame_skip=FRAME_SKIP, disable_env_checker=True, **options
        )
        return Delivered(env)

    number = job.setting["num_processes"]
    envs = gymnasium.vector.AsyncVectorEnv(
        [lambda index=index: make(index) for index in range(number)],
        shared_memory=True,
        copy=False,
        context="fork",
    )
    try:
        space = envs.single_action_space
        if not isinstance(space, gymnasium.spaces.Discrete):
            raise UnavailableError(f"{name} has no plain discrete actions")
        actions = np.random.default_rng(0).integers(0, space.n, (NUM_PREPARED, number))
        envs.reset(seed=0)
        clock = Clock(job)
        ended, at = np.zeros(number, bool), 0
        for _ in clock.windows():
            while clock.running():
                at = (at + 1) % NUM_PREPARED
                _, _, terminated, truncated, _ = envs.step(actions[at])
                # The call after the end of an episode resets and steps no frame.
                clock.steps += number - int(ended.sum())
                ended = terminated | truncated
    finally:
        envs.close()
    return clock.result()
