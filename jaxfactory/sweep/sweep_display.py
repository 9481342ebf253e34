"""Shows the progress of a sweep on the terminal."""

from collections.abc import Sequence

from rich.console import Console
from rich.live import Live
from rich.text import Text

from jaxfactory.sweep.sweep_runs import is_finished, progress
from jaxfactory.sweep.sweep_table import Job, Sweep


class SweepDisplay:
    """Prints one line per event and, on a terminal, a live status line."""

    def __init__(self, sweep: Sweep, console: Console) -> None:
        self._sweep = sweep
        self._console = console
        self._live = Live(console=console, transient=True, auto_refresh=False)

    def __enter__(self) -> "SweepDisplay":
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._live.stop()

    def say(self, text: str) -> None:
        """Print a line above the status line."""
        self._console.print(Text(text), soft_wrap=True)

    def show(self, running: Sequence[Job], failed: int) -> None:
        """Update the status line."""
        if not self._console.is_terminal:
            return
        done = sum(is_finished(self._sweep, job) for job in self._sweep.jobs)
        parts = [f"{done} of {len(self._sweep.jobs)} finished"]
        parts += [f"{failed} failed"] if failed else []
        parts += [f"{job.name} {progress(job):.0%}" for job in running]
        line = Text(" | ".join(parts), no_wrap=True, overflow="ellipsis")
        self._live.update(line, refresh=True)
