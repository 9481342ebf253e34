"""The video of a match, from all seats side by side."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from jaxfactory.config.env import EnvConfig
from jaxfactory.envs.doom import replay
from jaxfactory.evaluation.video import Recording, encode, verified
from jaxfactory.tournament import matches
from jaxfactory.tournament.matches import Result


def write_match(env: EnvConfig, match: Result, path: Path) -> float:
    """Replay a match into a video, with the seats from left to right.

    Args:
        env: Settings of the tournament's matches.
        match: The match.
        path: Path of the video; replaced only once the video is complete.

    Returns:
        The video's length in seconds.

    Raises:
        UserError: If the replay differs from the match.
    """
    seats = match.actions.shape[1]
    config = matches.match_env(env, 1, bot=seats == 1)
    recording = Recording(
        match.seed, match.actions, (match.length,), (match.raw_return,)
    )
    film = replay.replay(
        config, match.seed, match.actions, recording.lengths, seats=seats
    )
    images: Iterator[np.ndarray] = verified(film.frames, recording)
    return encode(images, film.rate, path, seconds=float(film.count / film.rate))
