"""Writes a benchmark's results: a JSON file and, for some, a chart."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console


FOLDER = Path(__file__).parents[1] / "results"

Report = dict[str, Any]


def write(
    console: Console,
    report: Report,
    path: Path,
    draw: Callable[[Report, Path], None] | None = None,
) -> None:
    """Write a report and print its path.

    Args:
        console: Where to print the path.
        report: The results, with ``machine.describe()`` as ``machine``; the current
            load average is added to it.
        path: The JSON file; its folder is created.
        draw: Draws the report into a PNG next to the JSON file; raises ImportError if
            matplotlib is missing.
    """
    load = {"load_average_after": os.getloadavg()[0]}
    report = {**report, "machine": report["machine"] | load}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=2) + "\n")
    message = f"wrote {path}"
    if draw is not None:
        chart = path.with_suffix(".png")
        try:
            draw(report, chart)
            message += f" and {chart}"
        except ImportError:
            message += "; for the chart, pip install 'jaxfactory[bench]'"
    console.print(message, highlight=False, markup=False, soft_wrap=True)


def load_pyplot() -> Any:
    """Return matplotlib.pyplot, set up to draw without a display.

    Raises:
        ImportError: If matplotlib is not installed.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    return plt
