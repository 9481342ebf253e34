"""Videos of episodes, replayed at high resolution.

The policy sees small frames. A second engine with the same seed receives the same
actions, so it runs the same episode, and its large frames make the video. The replay of
a match has one engine per agent.
"""

import contextlib
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Shaped, UInt8

from jaxfactory._util.errors import UserError
from jaxfactory.config.env import EnvConfig
from jaxfactory.envs import family
from jaxfactory.envs.family import ReplayFrame
from jaxfactory.scenarios.scenario import Scenario


# Videos have constant quality, x264's default CRF, unless the file would be larger than
# this. A match of four minutes is 38 MB; with a CRF of 18 it was 115 MB.
_MOST_BYTES = 40_000_000
_QUALITY = 23
# Bits per second; more than Doom ever needs.
_MOST_RATE = 8_000_000


class Recording(NamedTuple):
    """The steps of an environment, or of a match's environments, from the first on.

    Attributes:
        seed: Seed of its engine.
        actions: The chosen actions, `[N, agents, A]`; agents is 1 except in matches.
        lengths: Tics of each episode.
        raw_returns: Raw return of each episode; in a match, the first agent's.
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

    The size is limited to about 40 MB: a longer video has a lower bit rate.

    Args:
        config: The environment that was recorded.
        recording: Its actions and episodes.
        path: Path of the video; replaced only once the video is complete.
        scenario: Scenario to use instead of the one that `config` names.

    Returns:
        The video's length in seconds.

    Raises:
        UserError: If the replay differs from the recorded episodes.
    """
    film = family.of(scenario or config.scenario).replay(
        config, recording.seed, recording.actions, recording.lengths, scenario
    )
    images = verified(film.frames, recording)
    return encode(images, film.rate, path, seconds=float(film.count / film.rate))


def encode(
    images: Iterable[UInt8[np.ndarray, "H W 3"]],
    rate: Fraction,
    path: Path,
    *,
    seconds: float,
) -> float:
    """Write images into an H.264 video of limited size.

    Args:
        images: Images of the same size.
        rate: Images per second.
        path: Path of the video; replaced only once the video is complete.
        seconds: Approximate length, from which the bit rate follows.

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
            # The pixel format requires an even width and height.
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
    """Yield the frames of a recording.

    Raises:
        UserError: If an episode's length or raw return differs from the recording's.
    """
    film = family.of(scenario or config.scenario).replay(
        config, recording.seed, recording.actions, recording.lengths, scenario
    )
    yield from verified(film.frames, recording)


def verified(
    frames: Iterator[ReplayFrame], recording: Recording
) -> Iterator[UInt8[np.ndarray, "H W 3"]]:
    """Yield the images of a replay, and compare its episodes with the recording's.

    Raises:
        UserError: If an episode's length or raw return differs.
    """
    ended = 0
    for frame in frames:
        if frame.ended is not None:
            expected = recording.lengths[ended], recording.raw_returns[ended]
            ended += 1
            _compare(ended, *frame.ended, *expected)
        yield np.ascontiguousarray(frame.image)
    if ended != len(recording.lengths):
        raise UserError(
            f"the replay ended {ended} episodes and the recording "
            f"{len(recording.lengths)}: the episodes differ, so no video was made"
        )


def _compare(
    number: int, length: int, own: float, expected_length: int, expected_own: float
) -> None:
    # The replay adds up its rewards tic by tic, so the last digits may differ.
    same = abs(own - expected_own) <= 1e-3 * max(1.0, abs(own))
    if length != expected_length or not same:
        raise UserError(
            f"the replay's episode {number} took {length} tics with raw return "
            f"{own:.3f}, the recording's {expected_length} with {expected_own:.3f}: "
            "the episodes differ, so no video was made"
        )
