"""Writing the metrics of training without waiting for the device."""

from collections.abc import Mapping
from typing import Any

import jax

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
