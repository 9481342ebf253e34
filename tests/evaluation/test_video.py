"""Videos: how large they may be. That they show what was played, see test_train.py."""

from fractions import Fraction

import av
import numpy as np
import pytest

from jaxfactory.evaluation import video


SECONDS, RATE = 6.0, 35


def noise():
    """Images that nothing can be saved on."""
    rng = np.random.default_rng(0)
    for _ in range(int(SECONDS * RATE)):
        yield rng.integers(0, 256, (96, 128, 3), np.uint8)


def encode(path):
    return video.encode(noise(), Fraction(RATE), path, seconds=SECONDS)


def test_a_video_has_a_largest_size(tmp_path, monkeypatch):
    assert encode(tmp_path / "free.mp4") == SECONDS
    monkeypatch.setattr(video, "_MOST_BYTES", 300_000)
    assert encode(tmp_path / "limited.mp4") == SECONDS
    assert (tmp_path / "free.mp4").stat().st_size > 900_000
    # With the buffer's two seconds, which may be spent as well.
    assert (tmp_path / "limited.mp4").stat().st_size < 300_000 * (SECONDS + 2) / SECONDS
    for name in ("free", "limited"):
        with av.open(str(tmp_path / f"{name}.mp4")) as container:
            assert sum(1 for _ in container.decode(video=0)) == SECONDS * RATE
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("seconds", [1 / RATE, 86_400.0])
def test_any_length_can_be_encoded(tmp_path, seconds):
    images = [np.zeros((48, 65, 3), np.uint8)] * 3
    video.encode(images, Fraction(RATE), tmp_path / "v.mp4", seconds=seconds)
    with av.open(str(tmp_path / "v.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.width, stream.height, stream.frames) == (64, 48, 3)
