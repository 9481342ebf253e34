"""Values that change over a training run, described in text."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from jaxfactory._util.errors import UserError, did_you_mean


_SHAPES = ("linear", "cosine", "constant")


class Schedule(NamedTuple):
    """How one setting changes over a run.

    Attributes:
        shape: linear, cosine or constant.
        final: The value at the end.
        start: When the change begins: a share of the run, from 0 to 1, or a number of
            frames if `end` is one.
        end: When the final value is reached: above 1 it is a number of frames.
    """

    shape: str
    final: float = 0.0
    start: float = 0.0
    end: float = 1.0

    @property
    def counts_frames(self) -> bool:
        """Whether `start` and `end` are frames, whatever the run's length."""
        return self.end > 1.0

    def at(self, initial: float, progress: float, frames: int = 0) -> float:
        """Return the value at a moment of the run.

        Args:
            initial: The setting's own value.
            progress: Share of the run that is over; may be greater than 1.
            frames: Frames trained on.
        """
        if self.shape == "constant":
            return initial
        now = frames if self.counts_frames else progress
        share = (now - self.start) / (self.end - self.start)
        share = min(max(share, 0.0), 1.0)
        if self.shape == "cosine":
            share = (1.0 - math.cos(math.pi * share)) / 2.0
        return initial + (self.final - initial) * share


def parse_schedules(
    texts: Sequence[str], bounds: Mapping[str, tuple[float, float]]
) -> dict[str, Schedule]:
    """Return the schedules that the values of ``--schedule`` describe, by setting.

    Args:
        texts: The values.
        bounds: The settings that can change, and the bounds of their final values.

    Raises:
        UserError: If one of them is wrong, or a setting has two.
    """
    found: dict[str, Schedule] = {}
    for text in texts:
        name, schedule = _parse_schedule(text, bounds)
        if name in found:
            raise UserError(f"--schedule changes {name} twice; leave one of them out")
        found[name] = schedule
    return found


def _parse_schedule(
    text: str, bounds: Mapping[str, tuple[float, float]]
) -> tuple[str, Schedule]:
    what = f"--schedule {text!r:.80}"
    name, equals, rest = text.partition("=")
    name = name.strip().replace("-", "_")
    if not equals:
        raise UserError(
            f"{what} must be NAME=SHAPE:FINAL, as in ent_coef=linear:0.0003"
        )
    if name not in bounds:
        hint = did_you_mean(name[:60], bounds) or f"; choose {', '.join(bounds)}"
        raise UserError(f"{what} cannot change {name!r:.60}{hint}")
    shape, *numbers = rest.split(":")
    if shape not in _SHAPES:
        hint = did_you_mean(shape[:60], _SHAPES) or f"; choose {', '.join(_SHAPES)}"
        raise UserError(f"{what} has no shape {shape!r:.60}{hint}")
    if shape == "constant" and numbers:
        raise UserError(f"{what} takes no numbers; write {name}=constant")
    if shape != "constant" and not 1 <= len(numbers) <= 3:
        raise UserError(
            f"{what} needs the final value, and takes two shares of the run or two "
            f"numbers of frames after it, as in {name}={shape}:FINAL:0.5:1"
        )
    try:
        schedule = Schedule(shape, *map(float, numbers))
    except ValueError:
        raise UserError(
            f"{what} must have numbers after {shape}, as in {name}={shape}:FINAL:0.5:1"
        ) from None
    frames = schedule.counts_frames and float(schedule.start).is_integer()
    shares = not schedule.counts_frames
    if not (0.0 <= schedule.start < schedule.end < math.inf and (frames or shares)):
        raise UserError(
            f"{what} must start and end at shares of the run from 0 to 1, or at "
            f"numbers of frames, the start first, as in {name}={shape}:FINAL:0.5:1"
        )
    low, high = bounds[name]
    if shape != "constant" and not low <= schedule.final <= high:
        raise UserError(f"{what}: {name} must end between {low:g} and {high:g}")
    return name, schedule
