"""Shared parts of all measurements: job, clock, image size, worker processes."""

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from common import machine


FRAME_SKIP = 4
HEIGHT, WIDTH = 72, 128
# The same as options of jaxfactory's pool.
POOL_OPTIONS = {"frame_skip": FRAME_SKIP, "height": HEIGHT, "width": WIDTH}
# Number of random actions, drawn before the clock starts and used in turn.
NUM_PREPARED = 1024

Setting = dict[str, Any]


class UnavailableError(Exception):
    """A contender cannot be measured; the message has the reason."""


class Job(NamedTuple):
    """One measurement.

    Attributes:
        warmup: Seconds of stepping before the measurement.
        seconds: Seconds of the measurement.
    """

    scenario: str
    setting: Setting
    warmup: float
    seconds: float


class Clock:
    """Counts the steps in a timed window after a warm-up."""

    def __init__(self, job: Job):
        self._end = 0.0
        self._job = job

    def windows(self) -> Iterator[bool]:
        """Yield False for the warm-up, then True for the timed window."""
        for counts, seconds in ((False, self._job.warmup), (True, self._job.seconds)):
            self.steps = 0
            self.start = time.perf_counter()
            self._end = self.start + seconds
            yield counts
        self.seconds = time.perf_counter() - self.start

    def running(self) -> bool:
        """Whether the window is still open."""
        return time.perf_counter() < self._end

    def result(self) -> dict[str, Any]:
        """Return the result for the parent process."""
        return {"frames": int(self.steps) * FRAME_SKIP, "seconds": self.seconds}


def process_settings(cores: int) -> list[Setting]:
    """Return the numbers of worker processes to try on a number of cores."""
    return [
        {"num_processes": per_core * cores, "pin": pin}
        for per_core in (2, 1, 4)
        for pin in (False, True)
    ]


def missing(
    what: str, remedy: str = "pip install 'jaxfactory[bench]'"
) -> UnavailableError:
    """Return the error for a missing package."""
    return UnavailableError(f"{what} is not installed; get it with {remedy}")


def camel(scenario: str) -> str:
    """Return a scenario's name in camel case, as ViZDoom and EnvPool use it."""
    return "".join(word.capitalize() for word in Path(scenario).stem.split("_"))


def settle(index: int, *, pin: bool) -> None:
    """Give a worker process its own folder and, if ``pin``, its own core."""
    # Engines in the same folder would share one .ini file.
    folder = Path(f"worker-{index}")
    folder.mkdir()
    os.chdir(folder)
    if pin:
        cores = machine.cores()
        os.sched_setaffinity(0, {cores[index % len(cores)]})


def resizer() -> Callable[[np.ndarray, np.ndarray], None]:
    """Return the fastest installed nearest-neighbor resize."""
    with contextlib.suppress(ImportError):
        import cv2

        cv2.setNumThreads(1)

        def with_opencv(screen: np.ndarray, image: np.ndarray) -> None:
            cv2.resize(screen, (WIDTH, HEIGHT), image, interpolation=cv2.INTER_NEAREST)

        return with_opencv

    def with_numpy(screen: np.ndarray, image: np.ndarray) -> None:
        rows = np.arange(HEIGHT) * screen.shape[0] // HEIGHT
        columns = np.arange(WIDTH) * screen.shape[1] // WIDTH
        np.take(screen[rows], columns, axis=1, out=image)

    return with_numpy
