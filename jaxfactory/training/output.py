"""Writing metrics without waiting for the device, and what ends before it is done."""

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import jax

from jaxfactory._util.errors import UserError
from jaxfactory.envs.family import Pool
from jaxfactory.metrics.writers import CompositeWriter
from jaxfactory.ppo import finite
from jaxfactory.training.nonfinite import NonFinite


class LateOutput:
    """Writes each iteration's metrics during the next one.

    Fetching the losses at once would make the loop wait for the update.

    Args:
        writer: Receives the metrics.
        nonfinite: Watches them for skipped gradient steps.
    """

    def __init__(self, writer: CompositeWriter, nonfinite: NonFinite) -> None:
        self._writer = writer
        self.nonfinite = nonfinite
        self._pending: tuple[Mapping[str, Any], Mapping[str, float], int] | None = None

    @property
    def left(self) -> bool:
        """Whether nobody reads the output any more."""
        return self._writer.left

    def write(
        self, losses: Mapping[str, Any], metrics: Mapping[str, float], frames: int
    ) -> None:
        """Write the previous iteration's metrics; keep these until the next call.

        Args:
            losses: Device scalars of the update.
            metrics: The iteration's other metrics.
            frames: Frames trained on so far.
        """
        self.flush()
        self._pending = (losses, metrics, frames)

    def note(self, text: str) -> None:
        """Show a one-line message."""
        self._writer.note(text)

    def flush(self) -> None:
        """Write the last iteration's metrics."""
        if self._pending is not None:
            losses, metrics, frames = self._pending
            self._pending = None
            values = jax.device_get(dict(losses))
            if note := self.nonfinite.check(values, frames):
                self._writer.note(note)
            self._writer.write({**fetched(values), **metrics}, frames)


@runtime_checkable
class Output(Protocol):
    """What shows messages, and has metrics that are not written yet."""

    def note(self, text: str) -> None:
        """Show a one-line message."""

    def flush(self) -> None:
        """Write the last iteration's metrics."""


def save_before_failing(
    save: Callable[[], None], frames: int, run_dir: Path, pool: Pool, output: Output
) -> None:
    """Save what was trained before an error that ends the run.

    Args:
        save: Saves it and waits until that is done.
        frames: Frames that it was trained for; nothing is saved at 0.
        run_dir: The run's directory.
        pool: The environments, which are closed.
        output: Its metrics are written.
    """
    if not frames:
        return
    try:
        # The system may have no room for the threads that write.
        pool.close()
        output.flush()
        save()
    except UserError as error:
        warnings.warn(str(error), stacklevel=3)
    else:
        output.note(
            f"training cannot go on; the state at {frames:,} frames is saved, resume "
            f"with: jaxfactory train --run {run_dir}"
        )


def fetched(losses: Mapping[str, Any]) -> dict[str, float]:
    """Fetch an update's metrics from the device, under the names they are written as.

    Args:
        losses: Device scalars by name.
    """
    values = jax.device_get(dict(losses))
    return {
        f"losses/{name}": float(value)
        for name, value in values.items()
        if name != finite.FIRST
    }
