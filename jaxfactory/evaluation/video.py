"""Videos of episodes, played again at high resolution.

The policy sees small frames. A second engine with the same seed is given the same
actions, so it plays the same episode, and its large frames make the video; for a match,
as many engines as it has agents.
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
    film = family.of(scenario or config.scenario).replay(
        config, recording.seed, recording.actions, recording.lengths, scenario
    )
    images = _verified(film.frames, recording)
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
    """Yield the frames of a recording.

    Raises:
        UserError: If an episode's length or raw return differs from the recording's.
    """
    film = family.of(scenario or config.scenario).replay(
        config, recording.seed, recording.actions, recording.lengths, scenario
    )
    yield from _verified(film.frames, recording)


def _verified(
    frames: Iterator[ReplayFrame], recording: Recording
) -> Iterator[UInt8[np.ndarray, "H W 3"]]:
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
            f"{len(recording.lengths)}: it is not the same game, so no video was made"
        )


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
