"""Shows metrics on the terminal: a live display, or plain lines in a log."""

import math
import os
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from jaxfactory.metrics.time_breakdown import TimeBreakdown


# Set by Jupyter in its kernels' processes.
_NOTEBOOK = "JPY_PARENT_PID"
# Scores of so many policies fit into a line.
_MOST_SHOWN = 8
# The mean over the last 100 episodes, with [min, max].
_EPISODE_ROWS = (
    ("shaped return", "shaped_return"),
    ("raw return", "raw_return"),
    ("length", "length"),
    ("frags", "frags"),
    ("place", "place"),
)
_SCALARS = (
    ("policy loss", "losses/policy_loss", ".4f"),
    ("value loss", "losses/value_loss", ".4f"),
    ("entropy", "losses/entropy", ".3f"),
    ("KL", "losses/approx_kl", ".5f"),
    ("clipped", "losses/clip_fraction", ".1%"),
    ("engine restarts", "pool/engine_restarts", ".0f"),
)


class _Output(Console):
    """Standard output. Rich would end the process once nobody reads it."""

    def on_broken_pipe(self) -> None:
        """Raise the `BrokenPipeError` that is being handled."""
        raise  # noqa: PLE0704 - Rich calls this while it handles the error.


class TerminalWriter:
    """A live display on a terminal; elsewhere one plain line every few seconds.

    Args:
        run_dir: The run directory, which the display shows.
        total_frames: Frames at which the progress bar is full.
        console: The output; standard output by default.
        policies: Policies that are trained side by side; frames are those of one.
        interval: Seconds between plain lines.
        clock: Returns the current time in seconds.
    """

    def __init__(
        self,
        run_dir: Path,
        total_frames: int,
        console: Console | None = None,
        *,
        policies: int = 1,
        interval: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._run_dir = run_dir
        self._total = total_frames
        self._console = console or _Output()
        self._policies = policies
        self._interval = interval
        self._clock = clock
        # (seconds, frames) over the last half minute, for the displayed rate.
        self._history: deque[tuple[float, int]] = deque()
        self._metrics: dict[str, float] = {}
        self._frames = 0
        self._printed = -math.inf
        self._shown_frames = -1
        self._live: Live | None = None
        self._phases = TimeBreakdown()

    def begin(self, frames: int) -> None:
        """Open the display."""
        self._frames = frames
        self._history.append((self._clock(), frames))
        # rich takes a notebook for a terminal, but output there cannot be redrawn.
        if self._console.is_terminal and _NOTEBOOK not in os.environ:
            self._live = Live(
                get_renderable=self._panel, console=self._console, refresh_per_second=4
            )
            self._live.start(refresh=True)
        else:
            self._say(f"run directory {self._run_dir}")

    def write(self, metrics: Mapping[str, float], frames: int) -> None:
        """Show the metrics; missing ones keep their last value."""
        self._metrics.update(metrics)
        if frames < self._frames:
            return  # The evaluation of an earlier checkpoint.
        self._phases.add(metrics)
        self._frames = frames
        now = self._clock()
        self._history.append((now, frames))
        while len(self._history) > 2 and now - self._history[0][0] > 30:
            self._history.popleft()
        if self._live is None and now - self._printed >= self._interval:
            self._print_line()

    def note(self, text: str) -> None:
        """Print a line, on a terminal above the display."""
        console = self._live.console if self._live is not None else self._console
        console.print(Text(text), soft_wrap=True)

    def close(self) -> None:
        """Stop the display, leave its last state, and print the time breakdown."""
        if self._live is not None:
            self._live.stop()
            self._live = None
        elif self._metrics and self._frames != self._shown_frames:
            self._print_line()
        table = self._phases.table()
        if table is not None:
            self._console.print(table)
            self._console.print(Text(self._phases.bottleneck()), soft_wrap=True)

    def _print_line(self) -> None:
        self._printed = self._clock()
        self._shown_frames = self._frames
        share = min(100.0, 100 * self._frames / self._total)
        parts = [f"frames {self._frames:,}/{self._total:,} ({share:.0f}%)"]
        parts += [self._speed(), f"{self._time_left()} left"]
        for title, name in _EPISODE_ROWS:
            if f"episode/{name}" in self._metrics:
                parts.append(f"{title} {self._spread(name)}")
        if self._policies > 1:
            parts.append(f"{self._policies} policies {self._each_policy()}")
        parts += [
            f"{title} {self._metrics[name]:{spec}}"
            for title, name, spec in _SCALARS
            if name in self._metrics
        ]
        self._say(" | ".join(parts))

    def _say(self, line: str) -> None:
        # Without soft_wrap, rich would break the lines of a log file at 80 columns.
        self._console.print(Text(line), soft_wrap=True)

    def _panel(self) -> Group:
        """Return the display's contents; called from rich's refresh thread."""
        share = min(1.0, self._frames / self._total)
        head = Table.grid(padding=(0, 1))
        head.add_row(
            ProgressBar(total=1.0, completed=share, width=30),
            Text(f"{100 * share:.0f}%", style="bold"),
            Text(f"{self._frames:,} of {self._total:,} frames"),
            Text(self._speed(), style="bold"),
            Text(f"{self._time_left()} left"),
        )
        episodes = Table.grid(padding=(0, 2))
        scalars = Table.grid(padding=(0, 2))
        for title, name in _EPISODE_ROWS:
            if f"episode/{name}" in self._metrics:
                value = Text(self._spread(name), style="bold")
                episodes.add_row(Text(title, style="dim"), value)
        if self._policies > 1:
            value = Text(self._each_policy(), style="bold")
            name = f"{self._policies} policies"
            episodes.add_row(Text(name, style="dim"), value)
        if not episodes.rows:
            episodes.add_row(Text("no episode has ended yet", style="dim"))
        shown = [row for row in _SCALARS if row[1] in self._metrics]
        for start in range(0, len(shown), 3):
            cells: list[Text] = []
            for title, name, spec in shown[start : start + 3]:
                cells.append(Text(title, style="dim"))
                cells.append(Text(f"{self._metrics[name]:{spec}}"))
            scalars.add_row(*cells)
        place = Text(f"run directory  {self._run_dir}", style="dim")
        return Group(head, episodes, scalars, place)

    def _spread(self, name: str) -> str:
        mean, low, high = (
            self._metrics.get(f"episode/{name}{end}", math.nan)
            for end in ("", "_min", "_max")
        )
        return f"{mean:.2f} [{low:.2f}, {high:.2f}]"

    def _each_policy(self) -> str:
        """Return what each policy scores, the best one with a star."""
        best = self._metrics.get("population/best_policy")
        scores = {}
        for name, score in self._metrics.items():
            policy, _, _ = name.removeprefix("policy_").partition("/")
            if name.startswith("policy_"):
                scores[int(policy)] = score
        if best is None or not scores:
            return "without an episode yet"
        if len(scores) > _MOST_SHOWN:
            order = sorted(scores.values())
            return (
                f"{scores[int(best)]:.2f} (best: {best:.0f}), median "
                f"{order[len(order) // 2]:.2f}, worst {order[0]:.2f}"
            )
        return " ".join(
            f"{score:.2f}{'*' if number == best else ''}"
            for number, score in sorted(scores.items())
        )

    def _speed(self) -> str:
        """Return the speed, of all policies together."""
        return f"{self._policies * self._rate():,.0f} frames/s"

    def _rate(self) -> float:
        (start, first), (end, last) = self._history[0], self._history[-1]
        return (last - first) / (end - start) if end > start else 0.0

    def _time_left(self) -> str:
        rate = self._rate()
        if not rate:
            return "?"
        seconds = max(0, round((self._total - self._frames) / rate))
        minutes, seconds = divmod(seconds, 60)
        hours, minutes = divmod(minutes, 60)
        return f"{hours}:{minutes:02d}:{seconds:02d}"
