"""What happened to the policies of a population: population.jsonl, one event per line.

The file is also where a resumed run finds the settings of each policy: those of the
last event up to its checkpoint. An event is on the disk before any later checkpoint.
"""

import json
import math
import os
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from jaxfactory._util import plain_files, plain_json
from jaxfactory._util.errors import UserError
from jaxfactory.config import runs


KINDS = ("start", "copy", "mutate", "skip")
_LIMIT = 64 * plain_json.MIB
_LARGEST = 1e30
_MOST_POLICIES = 65_536
_MOST_SETTINGS = 1_000
_LONGEST_NAME = 200


class Event(NamedTuple):
    """Something that happened to a policy.

    Attributes:
        frames: Frames of each policy.
        kind: ``start``: it was created. ``copy``: it became a copy of `parent`, and its
            settings may have mutated. ``mutate``: its settings mutated. ``skip``: the
            population was not ranked, because this policy had no episodes.
        policy: Its number.
        parent: The policy that it is a copy of; None if it is not.
        score: Its objective before; None if it has none.
        parent_score: That of `parent`.
        values: Its settings from then on.
    """

    frames: int
    kind: str
    policy: int
    values: dict[str, float]
    parent: int | None = None
    score: float | None = None
    parent_score: float | None = None


class History:
    """Writes the events of a run.

    Events that a full disk does not take are kept. Until they are written, no
    checkpoint may be saved: without them it could not be resumed.

    Attributes:
        path: Its population.jsonl.
    """

    def __init__(self, run_dir: Path):
        """Write nothing yet."""
        self.path = run_dir / runs.POPULATION
        self._lines: list[str] = []
        self._written = 0
        self._error: OSError | None = None

    @property
    def written(self) -> bool:
        """Whether all events are on the disk."""
        return self._written == len(self._lines)

    def begin(self, frames: int) -> list[Event]:
        """Drop events after ``frames``, which training repeats; return the others.

        Raises:
            UserError: If the file cannot be read.
        """
        events = [event for event in read(self.path) if event.frames <= frames]
        self._lines = list(map(_line, events))
        self._written = len(self._lines)
        if self.path.exists():
            runs.write_atomically(self.path, "".join(self._lines))
        return events

    def start(self, events: Iterable[Event]) -> None:
        """Write the first events.

        Raises:
            UserError: If they cannot be written.
        """
        self._lines += map(_line, events)
        self.flush()
        self.check()

    def add(self, events: Iterable[Event]) -> None:
        """Append events and wait until they are on the disk; warn if that fails.

        If the file is gone, or another one is there, as after someone has removed the
        run's directory or brought it back, it is made again with all events.
        """
        self._lines += map(_line, events)
        failed = self._error is not None
        if not self.flush() and not failed:
            warnings.warn(
                f"{self._reason()}; training goes on without saving checkpoints, and "
                "it is tried again: free disk space",
                stacklevel=2,
            )

    def flush(self) -> bool:
        """Write the events that are not on the disk; return whether all are."""
        if not self._lines:
            return True
        whole = "".join(self._lines)
        try:
            there = self.path.exists()
            size = self.path.stat().st_size if there else 0
            if size != len("".join(self._lines[: self._written])):
                self.path.parent.mkdir(parents=True, exist_ok=True)
                runs.write_atomically(self.path, whole)
            elif not self.written:
                self._append("".join(self._lines[self._written :]), size)
        except OSError as error:
            self._error = error
            return False
        self._written, self._error = len(self._lines), None
        return True

    def _append(self, text: str, size: int) -> None:
        data = memoryview(text.encode())
        with self.path.open("ab", buffering=0) as file:
            try:
                while data:
                    data = data[file.write(data) :]
                os.fsync(file.fileno())
            except OSError:
                file.truncate(size)  # A part may have been written.
                raise

    def check(self) -> None:
        """Raise an error if events are not on the disk.

        Raises:
            UserError: With the reason.
        """
        if not self.written:
            raise UserError(
                f"{self._reason()}, and without it a checkpoint of the population "
                "cannot be resumed; free disk space and resume with: "
                f"jaxfactory train --run {self.path.parent}"
            )

    def _reason(self) -> str:
        why = self._error.strerror if self._error else "it is gone"
        return f"{self.path} cannot be written ({why})"


def last_values(events: Iterable[Event]) -> dict[int, dict[str, float]]:
    """Return the settings of each policy after its last event."""
    return {event.policy: event.values for event in events if event.kind != "skip"}


def read(path: Path) -> list[Event]:
    """Return the events in a file, in their order; none without a file.

    A last line that is incomplete, as a killed process leaves it, is left out.

    Raises:
        UserError: If it cannot be read, or another line is damaged.
    """
    try:
        lines = plain_files.read_bytes(path, _LIMIT).splitlines()
        events = []
        for number, line in enumerate(lines, start=1):
            try:
                events.append(_event(plain_json.loads(line)))
            except ValueError as error:
                if number < len(lines):
                    raise ValueError(f"line {number}: {error}") from error
        return events
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path} cannot be read: {plain_json.reason(error)}; it holds the settings "
            "of the policies, so restore it, or give --run a new directory"
        ) from error


def _event(row: Any) -> Event:
    if not isinstance(row, dict) or row.keys() - set(Event._fields):
        raise ValueError("it is not an event")
    event = Event(**{"values": {}, "frames": -1, "kind": "", "policy": -1, **row})
    valid = (
        plain_json.is_count(event.frames)
        and event.kind in KINDS
        and _is_policy(event.policy)
        and (event.parent is None or _is_policy(event.parent))
        and all(map(_is_score, (event.score, event.parent_score)))
        and _are_values(event.values)
    )
    if not valid:
        raise ValueError("a field is invalid")
    return event


def _is_policy(value: Any) -> bool:
    return plain_json.is_count(value) and value < _MOST_POLICIES


def _is_score(value: Any) -> bool:
    return value is None or plain_json.is_number(value, _LARGEST)


def _are_values(values: Any) -> bool:
    return (
        isinstance(values, dict)
        and len(values) <= _MOST_SETTINGS
        and all(
            len(name) <= _LONGEST_NAME
            and plain_files.is_plain(name)
            and plain_json.is_number(value, _LARGEST)
            for name, value in values.items()
        )
    )


def finite_or_none(value: float) -> float | None:
    """Return a number as an event has it: None if it is not finite."""
    return value if math.isfinite(value) else None


def _line(event: Event) -> str:
    row = {name: x for name, x in event._asdict().items() if x is not None}
    return json.dumps(row) + "\n"
