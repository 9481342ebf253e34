"""A short GIF of a video, for places that play no video: TensorBoard's images."""

import struct
from fractions import Fraction
from pathlib import Path


# About so many frames a second (of Doom's 35 every fifth), for half a minute: a few
# megabytes.
_RATE, _MOST, _WIDTH = 7, 210, 200
# One palette for all frames, made from all of them.
_PALETTE = ("split", "palettegen", "paletteuse")


def write_gif(mp4: Path, gif: Path) -> int:
    """Write the first half minute of a video as a GIF of some 7 frames a second.

    Args:
        mp4: The video.
        gif: Replaced only once it is complete.

    Returns:
        The number of frames.
    """
    import av

    unfinished = gif.with_suffix(".unfinished.gif")
    count = 0
    with av.open(str(mp4)) as source, av.open(str(unfinished), "w") as target:
        video = source.streams.video[0]
        speed = Fraction(video.average_rate or _RATE)
        every = max(1, round(speed / _RATE))
        rate = speed / every
        height = round(_WIDTH * video.height / video.width / 2) * 2
        stream = target.add_stream("gif", rate=rate)
        stream.width, stream.height, stream.pix_fmt = _WIDTH, height, "pal8"
        graph = av.filter.Graph()
        entry = graph.add_buffer(
            width=_WIDTH, height=height, format="rgb24", time_base=1 / rate
        )
        split, make, use = (graph.add(name) for name in _PALETTE)
        leave = graph.add("buffersink")
        entry.link_to(split)
        split.link_to(use, 0, 0)
        split.link_to(make, 1, 0)
        make.link_to(use, 0, 1)
        use.link_to(leave)
        graph.configure()
        for number, frame in enumerate(source.decode(video)):
            if number % every or count >= _MOST:
                continue
            small = frame.reformat(_WIDTH, height, "rgb24")
            small.pts, small.time_base = count, 1 / rate
            graph.push(small)
            count += 1
        graph.push(None)
        for _ in range(count):
            target.mux(stream.encode(graph.pull()))
        target.mux(stream.encode())
    unfinished.replace(gif)
    return count


def size_of(data: bytes) -> tuple[int, int]:
    """Return the width and height of a GIF."""
    width, height = struct.unpack("<HH", data[6:10])
    return width, height
