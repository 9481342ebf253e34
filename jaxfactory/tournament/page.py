"""The page of a tournament: one self-contained HTML file."""

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxfactory.report import html_page
from jaxfactory.report.report import VIDEO_BYTES


def render(result: Mapping[str, Any], video: Path | None) -> str:
    """Return the HTML of a tournament's page.

    Args:
        result: The content of tournament.json.
        video: The video of the most exciting match, which the page includes.
    """
    ranked = sorted(result["agents"], key=lambda agent: -agent["rating"])
    return html_page.render(
        "tournament/templates/tournament.html",
        result=result,
        agents=[_agent(agent, result, ranked) for agent in ranked],
        matrix=[[_cell(result, a["name"], b["name"]) for b in ranked] for a in ranked],
        video=_data(video) if video else "",
        video_path=str(video or ""),
    )


def totals(result: Mapping[str, Any], name: str) -> tuple[int, int, int]:
    """Return an agent's wins, draws and losses over all its matches."""
    wins = draws = losses = 0
    for pair in result["pairs"]:
        if name == pair["first"]:
            wins, losses = wins + pair["wins"], losses + pair["losses"]
        elif name == pair["second"]:
            wins, losses = wins + pair["losses"], losses + pair["wins"]
        else:
            continue
        draws += pair["draws"]
    return wins, draws, losses


def _agent(
    agent: Mapping[str, Any], result: Mapping[str, Any], ranked: list
) -> dict[str, Any]:
    low = min(one["rating_low"] for one in ranked)
    high = max(one["rating_high"] for one in ranked)
    span = max(high - low, 1.0)

    def place(rating: float) -> float:
        """Return a place on the scale, in percent of its width."""
        return 100 * (rating - low) / span

    wins, draws, losses = totals(result, agent["name"])
    return {
        **agent,
        "wins": wins,
        "draws": draws,
        "losses": losses,
        "at": place(agent["rating"]),
        "from": place(agent["rating_low"]),
        "to": place(agent["rating_high"]),
    }


def _cell(result: Mapping[str, Any], row: str, column: str) -> dict[str, Any] | None:
    """Return what the row's agent made of its matches against the column's."""
    for pair in result["pairs"]:
        if (pair["first"], pair["second"]) == (row, column):
            wins, losses = pair["wins"], pair["losses"]
            score, low, high = pair["score"], pair["score_low"], pair["score_high"]
        elif (pair["first"], pair["second"]) == (column, row):
            wins, losses = pair["losses"], pair["wins"]
            score, low, high = (
                1 - pair[name] for name in ("score", "score_high", "score_low")
            )
        else:
            continue
        return {
            "wins": wins, "draws": pair["draws"], "losses": losses, "score": score,
            "low": low, "high": high,
            "sure": "win" if low > 0.5 else "loss" if high < 0.5 else "",
        }  # fmt: skip
    return None


def _data(video: Path) -> str:
    if video.stat().st_size > VIDEO_BYTES:
        return ""
    return base64.b64encode(video.read_bytes()).decode()
