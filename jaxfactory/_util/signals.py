"""Ctrl-C, SIGTERM and SIGHUP: the first saves and exits, the second exits at once."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType


class TrainingInterrupted(KeyboardInterrupt):
    """A signal stopped training, and a checkpoint was saved.

    Attributes:
        signum: The signal's number.
        run_dir: The run to resume.
    """

    def __init__(self, signum: int, run_dir: Path, note: str = "") -> None:
        self.signum = signum
        self.run_dir = run_dir
        name = "Ctrl-C" if signum == signal.SIGINT else signal.Signals(signum).name
        super().__init__(
            f"stopped by {name}; everything is saved, resume{note} with: "
            f"jaxfactory train --run {run_dir}"
        )


class Stopped(KeyboardInterrupt):
    """SIGTERM or SIGHUP stopped a command that does not handle them.

    Attributes:
        signum: The signal's number.
    """

    def __init__(self, signum: int) -> None:
        self.signum = signum
        super().__init__(f"stopped by {signal.Signals(signum).name}")


class Interrupt:
    """Records the first signal that asked the program to stop.

    Attributes:
        signum: The signal's number, 0 before the first one.
    """

    def __init__(self) -> None:
        self.signum = 0
        self._arrived = False

    def handle(self, signum: int, frame: FrameType | None) -> None:
        """Record the signal; raise ``KeyboardInterrupt`` if it is the second one.

        A terminal that is closed may send SIGHUP several times.
        """
        del frame
        if self._arrived and signum != signal.SIGHUP:
            raise KeyboardInterrupt
        self._arrived = True
        self.note(signum)

    def note(self, signum: int) -> None:
        """Record what ends training as a signal does, unless there was one before.

        Another process's signal, for example. The first one that arrives here is not
        the second one then.
        """
        self.signum = self.signum or signum


@contextmanager
def catch_interrupts() -> Iterator[Interrupt]:
    """Catch SIGINT, SIGTERM and, unless it is ignored, SIGHUP during the block.

    Does nothing outside the main thread, where Python allows no handlers.
    """
    interrupt = Interrupt()
    if threading.current_thread() is not threading.main_thread():
        yield interrupt
        return
    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as under nohup
        numbers.append(signal.SIGHUP)
    previous = {number: signal.signal(number, interrupt.handle) for number in numbers}
    try:
        yield interrupt
    finally:
        for number, handler in previous.items():
            # None means that the handler was not installed by Python.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


@contextmanager
def raise_signals() -> Iterator[None]:
    """Raise `Stopped` on SIGTERM and SIGHUP, so that resources are closed.

    By default, they kill the process at once, which leaves its files in /tmp. Ignored
    signals stay ignored, for example SIGHUP under nohup.
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
