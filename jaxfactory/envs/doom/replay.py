"""Replays of Doom episodes at high resolution.

The policy observes small frames. An engine with the same seed and actions runs the same
episode, so it can be rendered again in large frames; a match needs one engine per
agent.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from fractions import Fraction

import numpy as np
from jaxtyping import Shaped

from jaxfactory.config.env import SCREEN_SIZES, EnvConfig
from jaxfactory.envs.doom.pool import EnvPool
from jaxfactory.envs.family import Replay, ReplayFrame
from jaxfactory.scenarios.scenario import Scenario


TICS_PER_SECOND = 35
_MIN_WIDTH, _MIN_HEIGHT = 640, 480


def replay(
    config: EnvConfig,
    seed: int,
    actions: Shaped[np.ndarray, "N agents A"],
    lengths: Sequence[int],
    scenario: Scenario | None = None,
    *,
    seats: int = 1,
) -> Replay:
    """Return every tic of recorded episodes; see `envs.family.Family.replay`.

    The first `seats` agents of a match are shown side by side.
    """
    frames = _frames(config, seed, actions, len(lengths), scenario, seats)
    return Replay(frames, Fraction(TICS_PER_SECOND), sum(lengths))


def _frames(
    config: EnvConfig,
    seed: int,
    actions: np.ndarray,
    episodes: int,
    scenario: Scenario | None,
    seats: int,
) -> Iterator[ReplayFrame]:
    ended = 0
    agents = actions.shape[1]
    with EnvPool(
        _enlarged(config, agents), scenario=scenario, env_seeds=[seed] * agents
    ) as pool:
        yield ReplayFrame(_image(pool.reset().obs, seats))
        for action in actions:
            for _ in range(config.frame_skip):
                step = pool.step(action)
                if not (step.terminated[0] or step.truncated[0]):
                    yield ReplayFrame(_image(step.obs, seats))
                    continue
                ended += 1
                info = step.info
                end = int(info.episode_length[0]), float(info.episode_raw_return[0])
                yield ReplayFrame(_image(info.final_obs, seats), end)
                if ended < episodes:
                    yield ReplayFrame(_image(step.obs, seats))
                break  # The episode ended before the rest of the action.


def _image(obs: np.ndarray, seats: int) -> np.ndarray:
    """Return a copy of the first seats' images, from left to right."""
    return np.concatenate(list(obs[:seats]), axis=1)


def _enlarged(config: EnvConfig, agents: int) -> EnvConfig:
    """Return settings that render every tic, large and in color."""
    # The smallest size of the same aspect ratio that is large enough for a video.
    width, height = next(
        (
            (wide, high)
            for wide, high in sorted(SCREEN_SIZES)
            if wide * config.screen[1] == high * config.screen[0]
            and wide >= _MIN_WIDTH
            and high >= _MIN_HEIGHT
        ),
        (_MIN_WIDTH, _MIN_HEIGHT),
    )
    return dataclasses.replace(
        config,
        num_envs=agents,
        num_groups=1,
        # Every tic is rendered; an action is held by repeating it.
        frame_skip=1,
        width=width,
        height=height,
        screen_width=width,
        screen_height=height,
        wide=False,
        grayscale=False,
        depth=False,
        labels=False,
        automap=False,
        frame_stack=1,
    )
