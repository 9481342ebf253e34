"""Draws the parts of an SVG chart: scales, axes, lines, bands and the hover data.

Colors are CSS variables of the page: ``--series-N``, ``--line``, ``--muted``.
"""

import json
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from markupsafe import Markup, escape


WIDTH, HEIGHT = 420, 236
# Margins of the plot area, which hold the tick labels.
LEFT, RIGHT, TOP, BOTTOM = 46, 8, 10, 24
COLORS = 8

Values = Float[np.ndarray, "N"]


class Series(NamedTuple):
    """One line, or one layer of stacked areas.

    Attributes:
        name: Name in the legend.
        y: One value for each x; NaN leaves a gap.
        low: Lower edge of the band around the line.
        high: Upper edge of the band.
        color: Index of the color.
        thin: Draw a thin line, without values in the tooltip.
    """

    name: str
    y: Values
    low: Values | None = None
    high: Values | None = None
    color: int = 0
    thin: bool = False


class Scale(NamedTuple):
    """A linear map from values to SVG coordinates along one axis."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Return the SVG coordinate of a value."""
        part = (value - self.low) / (self.high - self.low)
        return round(self.start + part * (self.end - self.start), 1)


def ticks(
    low: float, high: float, count: int = 5, *, whole: bool = False
) -> list[float]:
    """Return about ``count`` round numbers between two bounds."""
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
    """Format a number briefly: 1.5M, 200k, 0.01."""
    for size, suffix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{suffix}"
    if 0 < abs(value) < 1e-3:
        number, power = f"{value:.2e}".split("e")
        return f"{float(number):g}e{int(power)}"
    return f"{value:.3g}"


def value_range(values: Values) -> tuple[float, float]:
    """Return the minimum and maximum, widened if they are equal."""
    values = values[np.isfinite(values)]
    if not values.size:
        return 0.0, 1.0
    low, high = float(values.min()), float(values.max())
    if low == high:
        margin = abs(low) * 0.1 or 0.5
        return low - margin, high + margin
    return low, high


def scales(
    x: tuple[float, float], y: tuple[float, float], *, pad: bool
) -> tuple[Scale, Scale]:
    """Return the scales of the x and y axes for the ranges of the data."""
    left, right = x
    if left == right:
        left, right = left - 0.5, right + 0.5
    low, high = y
    margin = 0.05 * (high - low)
    low, high = (low - margin if pad else low), high + margin
    if (y == (0.0, 1.0)) and not pad:
        high = 1.0
    return (
        Scale(left, right, LEFT, WIDTH - RIGHT),
        Scale(low, high, HEIGHT - BOTTOM, TOP),
    )


def axes(
    across: Scale, up: Scale, *, percent: bool = False, whole: bool = False
) -> str:
    """Draw grid lines and tick labels."""
    parts = []
    for value in ticks(up.low, up.high, 4, whole=whole):
        place = up(value)
        text = f"{value:.0%}" if percent else short(value)
        parts.append(
            f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{place}" '
            f'y2="{place}"/><text x="{LEFT - 6}" y="{place + 3.5:.1f}" '
            f'text-anchor="end">{text}</text>'
        )
    return "".join(parts) + frame_labels(across)


def frame_labels(across: Scale) -> str:
    """Draw the tick labels of the x axis."""
    parts = []
    for value in ticks(across.low, across.high, 5):
        place = across(value)
        # Centered, the last label would be cut off.
        anchor = "end" if place > WIDTH - RIGHT - 12 else "middle"
        parts.append(
            f'<text x="{place}" y="{HEIGHT - 7}" text-anchor="{anchor}">'
            f"{short(value)}</text>"
        )
    return "".join(parts)


def _finite_stretches(*columns: Values) -> list[slice]:
    """Return the slices in which all columns are finite."""
    good = np.logical_and.reduce([np.isfinite(column) for column in columns])
    edges = np.flatnonzero(np.diff(np.concatenate([[False], good, [False]])))
    return [slice(start, end) for start, end in zip(edges[::2], edges[1::2])]


def _points(across: Scale, up: Scale, x: Values, y: Values) -> str:
    return " ".join(f"{across(a)},{up(b)}" for a, b in zip(x, y))


def line(across: Scale, up: Scale, x: Values, series: Series) -> str:
    """Draw a series as lines, with dots for isolated values."""
    parts = []
    y, name = series.y, f"s{series.color % COLORS}"
    name += " dashed" if series.color >= COLORS else ""
    name += " thin" if series.thin else ""
    for part in _finite_stretches(x, y):
        if part.stop - part.start == 1:
            place = f'cx="{across(x[part.start])}" cy="{up(y[part.start])}"'
            parts.append(f'<circle class="dot {name}" {place} r="2.5"/>')
        else:
            points = _points(across, up, x[part], y[part])
            parts.append(f'<polyline class="curve {name}" points="{points}"/>')
    return "".join(parts)


def band(
    across: Scale,
    up: Scale,
    x: Values,
    low: Values,
    high: Values,
    color: int,
    kind: str,
) -> str:
    """Draw the area between two curves."""
    parts = []
    for part in _finite_stretches(x, low, high):
        there = _points(across, up, x[part], high[part])
        back = _points(across, up, x[part][::-1], low[part][::-1])
        parts.append(
            f'<polygon class="{kind} s{color % COLORS}" points="{there} {back}"/>'
        )
    return "".join(parts)


def hover_data(x: Values, series: Sequence[Series], x_name: str, unit: str) -> dict:
    """Return the data that the page's script shows in a tooltip."""

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


def picture(
    parts: Sequence[str],
    title: str,
    hover: dict | None = None,
    across: Scale | None = None,
) -> Markup:
    """Return the SVG element made of some parts."""
    data = ""
    if hover is not None and across is not None:
        hover["from"], hover["to"] = across.low, across.high
        hover["left"], hover["right"] = across.start, across.end
        data = f' data-hover="{escape(json.dumps(hover, separators=(",", ":")))}"'
    cross = (
        f'<line class="cross" y1="{TOP}" y2="{HEIGHT - BOTTOM}" hidden=""/>'
        if data
        else ""
    )
    # The parts contain numbers, classes and escaped text only, so that no text from a
    # run can inject markup.
    return Markup(
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{escape(title)}"{data}>{"".join(parts)}{cross}</svg>'
    )
