"""The table and the chart of fps.py."""

import statistics
from pathlib import Path
from typing import Any

from common import output
from rich.console import Console
from rich.table import Table


def summarize(rounds: list[float], ours: list[float] | None) -> dict[str, Any]:
    """Return the statistics of one contender.

    Args:
        rounds: Frames/s of each round.
        ours: Frames/s of jaxfactory in the same rounds, if it took part.
    """
    summary = {
        "frames_per_second": rounds,
        "median": statistics.median(rounds),
        "min": min(rounds),
        "max": max(rounds),
    }
    if ours:
        ratios = [mine / theirs for mine, theirs in zip(ours, rounds)]
        summary |= {"ratios": ratios, "ratio": statistics.median(ratios)}
    return summary


def describe_setting(setting: dict[str, Any]) -> str:
    """Return a readable setting."""
    parts = []
    for name, value in setting.items():
        if name == "pin":
            parts += ["pinned"] * value
        elif name == "thread_affinity_offset":
            parts += ["pinned"] * (value >= 0)
        else:
            parts.append(f"{value} {name.removeprefix('num_').replace('_', ' ')}")
    return ", ".join(parts)


def print_table(console: Console, report: dict[str, Any]) -> None:
    """Print the results as a table."""
    table = Table(
        title=f"frames/s of random actions, {report['scenario']}, frame skip "
        f"{report['frame_skip']}, {report['machine']['cores']} cores",
        caption="speedup: jaxfactory's frames/s over the contender's, median over "
        "rounds",
    )
    table.add_column("contender")
    table.add_column("rendered")
    table.add_column("best setting")
    for name in ("median", "min", "max"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("speedup", justify="right", no_wrap=True)
    for row in report["contenders"].values():
        table.add_row(
            row["label"],
            row["rendered"],
            describe_setting(row["setting"]),
            *(f"{row[name]:,.0f}" for name in ("median", "min", "max")),
            f"{row['ratio']:.2f}" if "ratio" in row else "",
        )
    console.print(table)


def draw(report: dict[str, Any], path: Path) -> None:
    """Draw the medians as bars, with a line from the slowest to the fastest round.

    Raises:
        ImportError: If matplotlib is not installed.
    """
    plt = output.load_pyplot()
    rows = report["contenders"]
    where = report["machine"]
    figure, axes = plt.subplots(figsize=(9, 1.6 + 0.75 * len(rows)), dpi=150)
    medians = [row["median"] for row in rows.values()]
    spread = [
        [row["median"] - row["min"] for row in rows.values()],
        [row["max"] - row["median"] for row in rows.values()],
    ]
    colors = ["#c0392b" if name == "jaxfactory" else "#8a97a6" for name in rows]
    places = range(len(rows))
    axes.barh(places, medians, color=colors, height=0.62)
    axes.errorbar(
        medians, places, xerr=spread, fmt="none", ecolor="#2b2b2b", capsize=4, lw=1.2
    )
    for place, (name, row) in enumerate(rows.items()):
        text = f"{row['median']:,.0f}"
        if name != "jaxfactory" and "ratio" in row:
            text += f"   speedup {row['ratio']:.1f}x"
        axes.text(row["max"] + max(medians) * 0.015, place, text, va="center")
    axes.set_yticks(
        places,
        [f"{row['label']}\nrenders {row['rendered']}" for row in rows.values()],
    )
    axes.invert_yaxis()
    axes.set_xlim(0, max(row["max"] for row in rows.values()) * 1.35)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.set_xlabel(
        f"frames/s, median of {report['rounds']} rounds, line: slowest to fastest; "
        "speedup of jaxfactory over each contender"
    )
    axes.set_title(
        f"{report['scenario']}, random actions, frame skip {report['frame_skip']}, "
        "72x128 RGB delivered\n"
        f"{where['cores']} cores of {where['cpu']}, {where['date'][:10]}",
        fontsize=10,
    )
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(path)
    plt.close(figure)


def print_ceiling(console: Console, found: dict[str, Any]) -> None:
    """Print the engines' share of the cores' time, for each measurement."""
    for name in ("jaxfactory", "jaxfactory-stock"):
        for result in found["contenders"].get(name, {}).get("measured", []):
            console.print(
                f"{name}: the engines had {result['engine_user_share']:.0%} of all "
                f"core time in their own code, {result['engine_kernel_share']:.0%} in "
                "the kernel",
                highlight=False,
            )
