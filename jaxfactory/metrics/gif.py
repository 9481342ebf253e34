"""Converts a video to a short GIF, for TensorBoard, which shows images only."""

import struct
from fractions import Fraction
from pathlib import Path


# Frames per second (every fifth of Doom's 35), number of frames (half a minute) and
# width in pixels; the file has a few megabytes.
_RATE, _MOST, _WIDTH = 7, 210, 200
# All frames share one palette, computed from all of them.
_PALETTE = ("split", "palettegen", "paletteuse")


def write_gif(mp4: Path, gif: Path) -> int:
    """Write the first half minute of a video as a GIF of about 7 frames per second.

    Args:
        mp4: The video file.
        gif: The output file; replaced only when the new one is complete.

    Returns:
        The number of frames in the GIF.
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
