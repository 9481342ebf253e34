"""Videos of episodes, played again at high resolution.

The policy sees small frames. A second engine with the same seed is given the same
actions, so it plays the same episode, and its large frames make the video; for a match,
as many engines as it has agents.
"""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int32, UInt8

from jaxfactory.config import SCREEN_SIZES, EnvConfig
from jaxfactory.errors import UserError
from jaxfactory.pool import EnvPool
from jaxfactory.scenario import Scenario


TICS_PER_SECOND = 35
_MIN_WIDTH, _MIN_HEIGHT = 640, 480


class Recording(NamedTuple):
    """What an environment, or those of a match, played from the first step on.

    Attributes:
        seed: The seed of its engine.
        actions: One index a head, `[N, agents, heads]`; one agent but in a match.
        lengths: Tics of each of its episodes.
        own_returns: Own return of each of its episodes; the first agent's.
    """

    seed: int
    actions: Int32[np.ndarray, "N agents heads"]
    lengths: tuple[int, ...]
    own_returns: tuple[float, ...]


def write_mp4(
    config: EnvConfig,
    recording: Recording,
    path: Path,
    scenario: Scenario | None = None,
) -> int:
    """Replay a recording into an H.264 video at the game's own 35 frames a second.

    Args:
        config: The environment that was played.
        recording: What was played in it.
        path: Of the video; replaced only once it is complete.
        scenario: Instead of the one that `config` names.

    Returns:
        The number of frames.

    Raises:
        UserError: If the replay is not the same episode, tic for tic.
    """
    import av

    unfinished = path.with_suffix(".unfinished.mp4")
    count = 0
    with av.open(str(unfinished), "w") as container:
        stream = container.add_stream("libx264", rate=TICS_PER_SECOND)
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": "18", "preset": "veryfast"}
        for image in replay(config, recording, scenario):
            if not count:
                stream.height, stream.width = image.shape[:2]
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            container.mux(stream.encode(frame))
            count += 1
        container.mux(stream.encode())
    unfinished.replace(path)
    return count


def replay(
    config: EnvConfig, recording: Recording, scenario: Scenario | None = None
) -> Iterator[UInt8[np.ndarray, "H W 3"]]:
    """Yield every tic's frame at high resolution.

    Raises:
        UserError: If an episode's length or own return differs from the recording's.
    """
    ended = 0
    agents = recording.actions.shape[1]
    with EnvPool(
        _enlarged(config, agents),
        scenario=scenario,
        env_seeds=[recording.seed] * agents,
    ) as pool:
        yield pool.reset().obs[0].copy()
        for action in recording.actions:
            for _ in range(config.frame_skip):
                step = pool.step(action)
                if not (step.terminated[0] or step.truncated[0]):
                    yield step.obs[0].copy()
                    continue
                _verify(step.info, recording, ended)
                ended += 1
                yield step.info.final_obs[0].copy()
                if ended < len(recording.lengths):
                    yield step.obs[0].copy()
                break  # the rest of the action fell into no episode
    if ended != len(recording.lengths):
        raise UserError(
            f"the replay ended {ended} episodes and the recording "
            f"{len(recording.lengths)}: it is not the same game, so no video was made"
        )


def _verify(info, recording: Recording, number: int) -> None:
    length, own = int(info.episode_length[0]), float(info.episode_own_return[0])
    expected = recording.lengths[number], recording.own_returns[number]
    # The replay adds up its rewards tic by tic, so the last digits may differ.
    if length != expected[0] or abs(own - expected[1]) > 1e-3 * max(1.0, abs(own)):
        raise UserError(
            f"the replay's episode {number + 1} took {length} tics with own return "
            f"{own:.3f}, the recording's {expected[0]} with {expected[1]:.3f}: it is "
            "not the same game, so no video was made"
        )


def _enlarged(config: EnvConfig, agents: int) -> EnvConfig:
    # The smallest size of the same shape that is large enough to look at.
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
    )
