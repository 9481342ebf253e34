"""What all measurements share: job, clock, image, and how worker processes settle."""

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import machine
import numpy as np


FRAME_SKIP = 4
HEIGHT, WIDTH = 72, 128
# The same as jaxfactory's pool takes it.
POOL_OPTIONS = {"frame_skip": FRAME_SKIP, "height": HEIGHT, "width": WIDTH}
# Random actions that are drawn before the clock starts, and used in turn.
NUM_PREPARED = 1024

Setting = dict[str, Any]


class UnavailableError(Exception):
    """A contender cannot take part; the message says why."""


class Job(NamedTuple):
    """One measurement.

    Attributes:
        warmup: Seconds that are stepped before the clock starts.
        seconds: Seconds on the clock.
    """

    scenario: str
    setting: Setting
    warmup: float
    seconds: float


class Clock:
    """Counts the steps of a timed window, after a warm-up that does not count."""

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
        """Return what was counted, as the parent process reads it."""
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
    """Return the error that says that a package is missing and how to get it."""
    return UnavailableError(f"{what} is not installed; get it with {remedy}")


def camel(scenario: str) -> str:
    """Return a scenario's name as ViZDoom's wrapper and EnvPool write it."""
    return "".join(word.capitalize() for word in Path(scenario).stem.split("_"))


def settle(index: int, *, pin: bool) -> None:
    """Give a worker process a folder of its own and, if wanted, a core."""
    # Engines that start in one folder would share one .ini file.
    folder = Path(f"worker-{index}")
    folder.mkdir()
    os.chdir(folder)
    if pin:
        cores = machine.cores()
        os.sched_setaffinity(0, {cores[index % len(cores)]})


def resizer() -> Callable[[np.ndarray, np.ndarray], None]:
    """Return the fastest way to resize to the nearest pixel that is installed."""
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
