"""Charts as inline SVG: lines with bands, stacked areas and histograms.

A report is one HTML file whose charts follow the page's colours, light or dark, and
its width. A plotting library's SVG does neither (matplotlib bakes in colours and turns
text into outlines), and those that draw in the browser bring megabytes of script; so
these few shapes are drawn here. Colours are CSS variables of the page: ``--series-N``,
``--line``, ``--muted``.
"""

import json
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from markupsafe import Markup, escape


WIDTH, HEIGHT = 420, 236
# Inside of these the data is drawn; outside stand the ticks' labels.
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 8, 10, 24
COLORS = 8

Values = Float[np.ndarray, "N"]


class Series(NamedTuple):
    """One line, or one layer of stacked areas.

    Attributes:
        name: In the legend.
        y: One value for each x; NaN leaves a gap.
        low: Lower edge of a band around the line.
        high: Its upper edge.
        color: Number of its colour.
        thin: Drawn thin, and left out where values are shown.
    """

    name: str
    y: Values
    low: Values | None = None
    high: Values | None = None
    color: int = 0
    thin: bool = False


class Scale(NamedTuple):
    """Maps values to places along one side of the picture."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Return the place of a value, in the picture's units."""
        part = (value - self.low) / (self.high - self.low)
        return round(self.start + part * (self.end - self.start), 1)


def line_chart(
    x: Values,
    series: Sequence[Series],
    *,
    title: str,
    x_name: str = "frames",
    unit: str = "",
    from_zero: bool = False,
) -> Markup:
    """Draw lines over a common x, each with its band if it has one.

    Args:
        x: Ascending.
        series: Back to front.
        title: For readers who cannot see the picture.
        x_name: What x counts; ``"minutes"`` and ``"frames"`` choose its labels.
        unit: Behind every value that is shown when one points at the picture.
        from_zero: Begin the vertical axis at zero.
    """
    values = [v for s in series for v in (s.y, s.low, s.high) if v is not None]
    low, high = _range(np.concatenate(values) if values else np.zeros(0))
    if from_zero:
        low = min(low, 0.0)
    across, up = _scales((float(x[0]), float(x[-1])), (low, high), pad=not from_zero)
    parts = [_axes(across, up)]
    for one in series:
        if one.low is not None and one.high is not None:
            parts.append(_band(across, up, x, one.low, one.high, one.color, "band"))
        parts.append(_line(across, up, x, one))
    return _picture(parts, title, _hover(x, series, x_name, unit), across)


def area_chart(x: Values, layers: Sequence[Series], *, title: str) -> Markup:
    """Draw shares, between 0 and 1 each, as areas stacked from the bottom.

    Args:
        x: Ascending frames.
        layers: From the bottom.
        title: For readers who cannot see the picture.
    """
    across, up = _scales((float(x[0]), float(x[-1])), (0.0, 1.0), pad=False)
    parts = []
    floor = np.zeros_like(x)
    for layer in layers:
        top = np.minimum(floor + np.nan_to_num(layer.y), 1.0)
        parts.append(_band(across, up, x, floor, top, layer.color, "area"))
        floor = top
    parts.append(_axes(across, up, percent=True))
    percent = [layer._replace(y=layer.y * 100) for layer in layers]
    hover = _hover(x, list(reversed(percent)), "frames", "%")
    return _picture(parts, title, hover, across)


def histogram(
    values: Values,
    *,
    title: str,
    color: int = 0,
    limits: tuple[float, float] | None = None,
    bins: int = 20,
) -> Markup:
    """Draw how many of the values fall into each of equal intervals.

    Args:
        values: At least one.
        title: For readers who cannot see the picture.
        color: Number of the bars' colour.
        limits: Of the horizontal axis; by default those of the values.
        bins: Intervals.
    """
    low, high = limits or (float(values.min()), float(values.max()))
    if high - low <= 1e-12 * max(abs(low), abs(high)):
        # Too near to each other to be told apart.
        margin = max(0.5, 0.1 * abs(low))
        low, high = low - margin, high + margin
    counts, edges = np.histogram(values, bins=bins, range=(low, high))
    across, up = _scales((low, high), (0.0, float(max(counts.max(), 1))), pad=False)
    parts = [_axes(across, up, whole=True)]
    for count, left, right in zip(counts, edges, edges[1:]):
        if not count:
            continue
        place, top = across(float(left)), up(float(count))
        size = f'width="{max(0.5, across(float(right)) - place - 1):.1f}"'
        label = f"{left:.4g} to {right:.4g}: {count}"
        parts.append(
            f'<rect class="bar s{color % COLORS}" x="{place}" y="{top}" {size} '
            f'height="{up(0.0) - top:.1f}"><title>{label}</title></rect>'
        )
    mean = across(float(values.mean()))
    parts.append(
        f'<line class="mean" x1="{mean}" x2="{mean}" y1="{_TOP}" '
        f'y2="{HEIGHT - _BOTTOM}"><title>mean {values.mean():.4g}</title></line>'
    )
    return _picture(parts, title)


def ticks(
    low: float, high: float, count: int = 5, *, whole: bool = False
) -> list[float]:
    """Return round numbers between two bounds, about as many as asked for."""
    raw = (high - low) / max(count, 1)
    if not math.isfinite(raw) or raw <= 0:
        return [low]
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * m for m in (1, 2, 2.5, 5, 10) if raw <= power * m * 1.0001)
    if whole:
        step = max(1.0, math.ceil(step))
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(number * step, 12) for number in range(first, last + 1)]


def short(value: float) -> str:
    """Return a number in few characters: 1.5M, 200k, 0.01."""
    for size, suffix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{suffix}"
    if 0 < abs(value) < 1e-3:
        number, power = f"{value:.2e}".split("e")
        return f"{float(number):g}e{int(power)}"
    return f"{value:.3g}"


def _range(values: Values) -> tuple[float, float]:
    values = values[np.isfinite(values)]
    if not values.size:
        return 0.0, 1.0
    low, high = float(values.min()), float(values.max())
    if low == high:
        margin = abs(low) * 0.1 or 0.5
        return low - margin, high + margin
    return low, high


def _scales(
    x: tuple[float, float], y: tuple[float, float], *, pad: bool
) -> tuple[Scale, Scale]:
    left, right = x
    if left == right:
        left, right = left - 0.5, right + 0.5
    low, high = y
    margin = 0.05 * (high - low)
    low, high = (low - margin if pad else low), high + margin
    if (y == (0.0, 1.0)) and not pad:
        high = 1.0
    return (
        Scale(left, right, _LEFT, WIDTH - _RIGHT),
        Scale(low, high, HEIGHT - _BOTTOM, _TOP),
    )


def _axes(
    across: Scale, up: Scale, *, percent: bool = False, whole: bool = False
) -> str:
    parts = []
    for value in ticks(up.low, up.high, 4, whole=whole):
        place = up(value)
        text = f"{value:.0%}" if percent else short(value)
        parts.append(
            f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{place}" '
            f'y2="{place}"/><text x="{_LEFT - 6}" y="{place + 3.5:.1f}" '
            f'text-anchor="end">{text}</text>'
        )
    for value in ticks(across.low, across.high, 5):
        place = across(value)
        # The last label would stand half outside.
        anchor = "end" if place > WIDTH - _RIGHT - 12 else "middle"
        parts.append(
            f'<text x="{place}" y="{HEIGHT - 7}" text-anchor="{anchor}">'
            f"{short(value)}</text>"
        )
    return "".join(parts)


def _runs_of_numbers(*columns: Values) -> list[slice]:
    """Return the stretches in which all columns hold numbers."""
    good = np.logical_and.reduce([np.isfinite(column) for column in columns])
    edges = np.flatnonzero(np.diff(np.concatenate([[False], good, [False]])))
    return [slice(start, end) for start, end in zip(edges[::2], edges[1::2])]


def _points(across: Scale, up: Scale, x: Values, y: Values) -> str:
    return " ".join(f"{across(a)},{up(b)}" for a, b in zip(x, y))


def _line(across: Scale, up: Scale, x: Values, series: Series) -> str:
    parts = []
    y, name = series.y, f"s{series.color % COLORS}"
    name += " dashed" if series.color >= COLORS else ""
    name += " thin" if series.thin else ""
    for part in _runs_of_numbers(x, y):
        if part.stop - part.start == 1:
            place = f'cx="{across(x[part.start])}" cy="{up(y[part.start])}"'
            parts.append(f'<circle class="dot {name}" {place} r="2.5"/>')
        else:
            points = _points(across, up, x[part], y[part])
            parts.append(f'<polyline class="curve {name}" points="{points}"/>')
    return "".join(parts)


def _band(
    across: Scale,
    up: Scale,
    x: Values,
    low: Values,
    high: Values,
    color: int,
    kind: str,
) -> str:
    parts = []
    for part in _runs_of_numbers(x, low, high):
        there = _points(across, up, x[part], high[part])
        back = _points(across, up, x[part][::-1], low[part][::-1])
        parts.append(
            f'<polygon class="{kind} s{color % COLORS}" points="{there} {back}"/>'
        )
    return "".join(parts)


def _hover(x: Values, series: Sequence[Series], x_name: str, unit: str) -> dict:
    def plain(values: Values | None) -> list[float | None] | None:
        if values is None:
            return None
        return [float(f"{v:.4g}") if math.isfinite(v) else None for v in values]

    return {
        "x": plain(x),
        "name": x_name,
        "unit": unit,
        "series": [
            {
                "name": one.name,
                "color": one.color % COLORS,
                "y": plain(one.y),
                "low": plain(one.low),
                "high": plain(one.high),
            }
            for one in series
            if not one.thin
        ],
    }


def _picture(
    parts: Sequence[str],
    title: str,
    hover: dict | None = None,
    across: Scale | None = None,
) -> Markup:
    data = ""
    if hover is not None and across is not None:
        hover["from"], hover["to"] = across.low, across.high
        hover["left"], hover["right"] = across.start, across.end
        data = f' data-hover="{escape(json.dumps(hover, separators=(",", ":")))}"'
    cross = (
        f'<line class="cross" y1="{_TOP}" y2="{HEIGHT - _BOTTOM}" hidden=""/>'
        if data
        else ""
    )
    # Numbers, classes and escaped words only: nothing of a run's can be markup.
    return Markup(
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{escape(title)}"{data}>{"".join(parts)}{cross}</svg>'
    )
