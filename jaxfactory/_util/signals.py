"""Ctrl-C and SIGTERM: finish the step, save, and leave; the second time at once."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType


class TrainingInterrupted(KeyboardInterrupt):
    """Training was stopped by a signal, after a checkpoint was saved.

    Attributes:
        signum: The signal's number.
        run_dir: Where training goes on from.
    """

    def __init__(self, signum: int, run_dir: Path) -> None:
        self.signum = signum
        self.run_dir = run_dir
        name = "Ctrl-C" if signum == signal.SIGINT else signal.Signals(signum).name
        super().__init__(
            f"stopped by {name}; everything is saved, go on with: "
            f"jaxfactory train --run {run_dir}"
        )


class Stopped(KeyboardInterrupt):
    """SIGTERM or SIGHUP came, where nothing else waits for them.

    Attributes:
        signum: The signal's number.
    """

    def __init__(self, signum: int) -> None:
        self.signum = signum
        super().__init__(f"stopped by {signal.Signals(signum).name}")


class Interrupt:
    """Remembers the first signal that asked the program to stop.

    Attributes:
        signum: The signal's number, 0 as long as none has come.
    """

    def __init__(self) -> None:
        self.signum = 0

    def handle(self, signum: int, frame: FrameType | None) -> None:
        """Remember the signal; raise ``KeyboardInterrupt`` if it is the second."""
        del frame
        if self.signum:
            raise KeyboardInterrupt
        self.signum = signum


@contextmanager
def catch_interrupts() -> Iterator[Interrupt]:
    """Catch SIGINT and SIGTERM for the block's duration.

    Outside the main thread, where Python allows no handlers, nothing is caught.
    """
    interrupt = Interrupt()
    if threading.current_thread() is not threading.main_thread():
        yield interrupt
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    previous = {number: signal.signal(number, interrupt.handle) for number in numbers}
    try:
        yield interrupt
    finally:
        for number, handler in previous.items():
            # None: a handler that was not installed from Python.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


@contextmanager
def raise_signals() -> Iterator[None]:
    """Raise `Stopped` on SIGTERM and SIGHUP, so that what is open is closed.

    By default they end the process at once, which leaves its files in /tmp. Signals
    that are ignored stay so: SIGHUP under nohup.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(signum: int, frame: FrameType | None) -> None:
        del frame
        raise Stopped(signum)

    numbers = [
        number
        for number in (signal.SIGTERM, signal.SIGHUP)
        if signal.getsignal(number) is signal.SIG_DFL
    ]
    for number in numbers:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, signal.SIG_DFL)
