"""Videos of episodes, played again at high resolution.

The policy sees small frames. A second engine with the same seed is given the same
actions, so it plays the same episode, and its large frames make the video; for a match,
as many engines as it has agents.
"""

import contextlib
import dataclasses
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Shaped, UInt8

from jaxfactory._util.errors import UserError
from jaxfactory.config.env import SCREEN_SIZES, EnvConfig, gymnasium_id
from jaxfactory.envs.doom.pool import EnvPool
from jaxfactory.scenarios.scenario import Scenario


TICS_PER_SECOND = 35
_MIN_WIDTH, _MIN_HEIGHT = 640, 480
# Videos are of even quality, x264's usual one, unless one of its length would then be
# larger than this. A match of four minutes is 38 MB; at a quality of 18 it was 115 MB.
_MOST_BYTES = 40_000_000
_QUALITY = 23
# More bits a second than Doom ever needs.
_MOST_RATE = 8_000_000


class Recording(NamedTuple):
    """What an environment, or those of a match, played from the first step on.

    Attributes:
        seed: The seed of its engine.
        actions: As the policy made them, `[N, agents, A]`; one agent but in a match.
        lengths: Tics of each of its episodes.
        raw_returns: Raw return of each of its episodes; the first agent's.
    """

    seed: int
    actions: Shaped[np.ndarray, "N agents A"]
    lengths: tuple[int, ...]
    raw_returns: tuple[float, ...]


def write_mp4(
    config: EnvConfig,
    recording: Recording,
    path: Path,
    scenario: Scenario | None = None,
) -> float:
    """Replay a recording into an H.264 video at the environment's own speed.

    It is of some 40 MB at most: the longer, the fewer bits a second it may have.

    Args:
        config: The environment that was played.
        recording: What was played in it.
        path: Of the video; replaced only once it is complete.
        scenario: Instead of the one that `config` names.

    Returns:
        The video's length in seconds.

    Raises:
        UserError: If the replay is not the same episode, tic for tic.
    """
    if gymnasium_id(config.scenario) is None:
        images, rate = replay(config, recording, scenario), Fraction(TICS_PER_SECOND)
        frames = sum(recording.lengths)
    else:
        images, rate = _replay_gymnasium(config, recording), _gymnasium_rate(config)
        frames = len(recording.actions)
    return encode(images, rate, path, seconds=float(frames / rate))


def encode(
    images: Iterable[UInt8[np.ndarray, "H W 3"]],
    rate: Fraction,
    path: Path,
    *,
    seconds: float,
) -> float:
    """Write images into an H.264 video of limited size.

    Args:
        images: All of one size.
        rate: Images a second.
        path: Of the video; replaced only once it is complete.
        seconds: How long it will be, about; its bits a second follow from that.

    Returns:
        The video's length in seconds.
    """
    import av

    unfinished = path.with_suffix(".unfinished.mp4")
    bits = min(_MOST_RATE, round(8 * _MOST_BYTES / seconds))
    count = 0
    with _removed_after_errors(unfinished), av.open(str(unfinished), "w") as container:
        stream = container.add_stream("libx264", rate=rate)
        stream.pix_fmt = "yuv420p"
        stream.options = {
            "crf": str(_QUALITY),
            "preset": "veryfast",
            "maxrate": str(bits),
            "bufsize": str(2 * bits),
        }
        for image in images:
            # The encoding wants even sides.
            image = image[: image.shape[0] // 2 * 2, : image.shape[1] // 2 * 2]
            if not count:
                stream.height, stream.width = image.shape[:2]
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            container.mux(stream.encode(frame))
            count += 1
        container.mux(stream.encode())
    unfinished.replace(path)
    return float(count / rate)


@contextlib.contextmanager
def _removed_after_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def replay(
    config: EnvConfig, recording: Recording, scenario: Scenario | None = None
) -> Iterator[UInt8[np.ndarray, "H W 3"]]:
    """Yield every tic's frame at high resolution.

    Raises:
        UserError: If an episode's length or raw return differs from the recording's.
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


def _gymnasium_rate(config: EnvConfig) -> Fraction:
    from jaxfactory.envs.gymnasium import replay as gymnasium_replay

    return Fraction(gymnasium_replay.frames_per_second(config)).limit_denominator(1000)


def _replay_gymnasium(
    config: EnvConfig, recording: Recording
) -> Iterator[UInt8[np.ndarray, "H W 3"]]:
    """Yield the frames of a recording's first episode, one for each decision.

    Raises:
        UserError: If the episode is not the recording's.
    """
    from jaxfactory.envs.gymnasium import replay as gymnasium_replay

    count, own, ended = -1, 0.0, False
    for image, own, ended in gymnasium_replay.replay(  # noqa: B007 - the last counts
        config, recording.seed, recording.actions[:, 0]
    ):
        count += 1
        yield np.ascontiguousarray(image)
    expected = recording.lengths[0], recording.raw_returns[0]
    _compare(1, count * config.frame_skip, own, *expected)
    if not ended:
        raise UserError("the replay's episode has not ended, so no video was made")


def _verify(info, recording: Recording, number: int) -> None:
    length, own = int(info.episode_length[0]), float(info.episode_raw_return[0])
    expected = recording.lengths[number], recording.raw_returns[number]
    _compare(number + 1, length, own, *expected)


def _compare(
    number: int, length: int, own: float, expected_length: int, expected_own: float
) -> None:
    # The replay adds up its rewards tic by tic, so the last digits may differ.
    same = abs(own - expected_own) <= 1e-3 * max(1.0, abs(own))
    if length != expected_length or not same:
        raise UserError(
            f"the replay's episode {number} took {length} tics with raw return "
            f"{own:.3f}, the recording's {expected_length} with {expected_own:.3f}: it "
            "is not the same game, so no video was made"
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
