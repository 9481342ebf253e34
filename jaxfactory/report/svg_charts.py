"""Draws charts as inline SVG: lines with bands, stacked areas and histograms.

A report is one HTML file whose charts follow the page's colors, light or dark, and its
width. The SVG of plotting libraries does neither (matplotlib fixes the colors and turns
text into outlines), and libraries that draw in the browser add megabytes of script.
"""

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup

from jaxfactory.report.svg_shapes import (
    BOTTOM,
    COLORS,
    HEIGHT,
    TOP,
    Series,
    Values,
    axes,
    band,
    hover_data,
    line,
    picture,
    scales,
    value_range,
)  # fmt: skip


def line_chart(
    x: Values,
    series: Sequence[Series],
    *,
    title: str,
    x_name: str = "frames",
    unit: str = "",
    from_zero: bool = False,
) -> Markup:
    """Draw lines over a common x axis, each with its band if it has one.

    Args:
        x: Ascending values.
        series: The lines, from back to front.
        title: Text alternative for screen readers.
        x_name: Name of the x values in the tooltip.
        unit: Unit of the values in the tooltip.
        from_zero: Start the y axis at zero.
    """
    values = [v for s in series for v in (s.y, s.low, s.high) if v is not None]
    low, high = value_range(np.concatenate(values) if values else np.zeros(0))
    if from_zero:
        low = min(low, 0.0)
    across, up = scales((float(x[0]), float(x[-1])), (low, high), pad=not from_zero)
    parts = [axes(across, up)]
    for one in series:
        if one.low is not None and one.high is not None:
            parts.append(band(across, up, x, one.low, one.high, one.color, "band"))
        parts.append(line(across, up, x, one))
    return picture(parts, title, hover_data(x, series, x_name, unit), across)


def area_chart(x: Values, layers: Sequence[Series], *, title: str) -> Markup:
    """Draw fractions between 0 and 1 as stacked areas.

    Args:
        x: Ascending frames.
        layers: The areas, from bottom to top.
        title: Text alternative for screen readers.
    """
    across, up = scales((float(x[0]), float(x[-1])), (0.0, 1.0), pad=False)
    parts = []
    floor = np.zeros_like(x)
    for layer in layers:
        top = np.minimum(floor + np.nan_to_num(layer.y), 1.0)
        parts.append(band(across, up, x, floor, top, layer.color, "area"))
        floor = top
    parts.append(axes(across, up, percent=True))
    percent = [layer._replace(y=layer.y * 100) for layer in layers]
    data = hover_data(x, list(reversed(percent)), "frames", "%")
    return picture(parts, title, data, across)


def histogram(
    values: Values,
    *,
    title: str,
    color: int = 0,
    limits: tuple[float, float] | None = None,
    bins: int = 20,
) -> Markup:
    """Draw a histogram with a line at the mean.

    Args:
        values: At least one value.
        title: Text alternative for screen readers.
        color: Index of the bars' color.
        limits: Limits of the x axis; by default the values' minimum and maximum.
        bins: Number of bins.
    """
    low, high = limits or (float(values.min()), float(values.max()))
    if high - low <= 1e-12 * max(abs(low), abs(high)):
        # The range is too small to divide into bins.
        margin = max(0.5, 0.1 * abs(low))
        low, high = low - margin, high + margin
    counts, edges = np.histogram(values, bins=bins, range=(low, high))
    across, up = scales((low, high), (0.0, float(max(counts.max(), 1))), pad=False)
    parts = [axes(across, up, whole=True)]
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
        f'<line class="mean" x1="{mean}" x2="{mean}" y1="{TOP}" '
        f'y2="{HEIGHT - BOTTOM}"><title>mean {values.mean():.4g}</title></line>'
    )
    return picture(parts, title)
