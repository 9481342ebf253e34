"""Where a benchmark's report goes: a JSON file, a chart if there is one, a line."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console


FOLDER = Path(__file__).parent / "results"

Report = dict[str, Any]


def write(
    console: Console,
    report: Report,
    path: Path,
    draw: Callable[[Report, Path], None] | None = None,
) -> None:
    """Write a report, and say where it is.

    Args:
        console: Where it is said.
        report: What was measured, with ``machine.describe()`` as its ``machine``, to
            which the load of now is added.
        path: Of the JSON file; its folder is made.
        draw: Draws the report into a PNG beside it, and raises ImportError where
            matplotlib is missing.
    """
    load = {"load_average_after": os.getloadavg()[0]}
    report = {**report, "machine": report["machine"] | load}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=2) + "\n")
    said = f"written: {path}"
    if draw is not None:
        chart = path.with_suffix(".png")
        try:
            draw(report, chart)
            said += f", {chart}"
        except ImportError:
            said += "; for the chart, pip install 'jaxfactory[bench]'"
    console.print(said, highlight=False, markup=False, soft_wrap=True)
