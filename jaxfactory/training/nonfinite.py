"""Ends a training run whose gradient steps are all skipped, and says why."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxfactory._util.errors import UserError
from jaxfactory.ppo import finite
from jaxfactory.types import Params


# Updates in a row without a single step that end training.
MOST_SKIPPED = 5


class NonFinite:
    """Watches the metrics of updates for skipped steps.

    Attributes:
        stopped: The reason to end training; None to continue.

    Args:
        params: The network's parameters, for their names.
        steps: Gradient steps of an update.
        max_grad_norm: The largest norm of a gradient; 0 for no limit.
    """

    def __init__(self, params: Params, steps: int, max_grad_norm: float) -> None:
        self._parts = finite.parts_of(params)
        self._steps = steps
        self._remedy = (
            "lower --learning-rate or --max-grad-norm"
            if max_grad_norm
            else "lower --learning-rate or set --max-grad-norm"
        )
        self._in_a_row = 0
        self._cause = ""
        self.stopped: str | None = None

    def check(self, losses: Mapping[str, Any], frames: int) -> str:
        """Take an update's metrics, by their names in the learner.

        Returns:
            A message where an update has skipped steps and the one before it had none.
        """
        what = finite.describe(losses, self._parts)
        if not what:
            self._cause, self._in_a_row = "", 0
            return ""
        bonus = f"bonus_{finite.SKIPPED}"
        skipped = int(max(losses[finite.SKIPPED], losses.get(bonus, 0.0)))
        begins = not self._cause
        self._cause = self._cause or f"{what} at {frames:,} frames"
        self._in_a_row = self._in_a_row + 1 if skipped == self._steps else 0
        if self._in_a_row >= MOST_SKIPPED:
            self.stopped = self._cause
        if not begins:
            return ""
        return (
            f"{skipped} of {self._steps} gradient steps were skipped, because not all "
            f"numbers were finite; the first that was not: {self._cause}"
        )

    def reset(self) -> None:
        """Forget what was seen: the parameters are others now."""
        self._in_a_row, self._cause, self.stopped = 0, "", None

    def raise_error(self, run_dir: Path) -> None:
        """Raise the reason to end training, if there is one.

        Raises:
            UserError: With what was not finite first.
        """
        if self.stopped:
            raise UserError(
                f"training ended: all gradient steps of {MOST_SKIPPED} updates in a "
                "row were skipped, because not all numbers were finite; the first that "
                f"was not: {self.stopped}; the last good state is saved; check rewards "
                f"and observations, or {self._remedy}, and resume with: jaxfactory "
                f"train --run {run_dir}"
            )
