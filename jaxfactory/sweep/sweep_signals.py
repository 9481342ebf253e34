"""Signals that stop a sweep after its runs were saved."""

import contextlib
import signal
from collections.abc import Callable, Iterator

from jaxfactory._util.signals import Interrupt, catch_interrupts


@contextlib.contextmanager
def catch_signals() -> Iterator[Interrupt]:
    """Catch SIGINT, SIGTERM and SIGHUP: closing the terminal stops the runs too."""
    with catch_interrupts() as interrupt:
        before = signal.getsignal(signal.SIGHUP)
        # Keep ignoring SIGHUP under nohup.
        catch = before is not signal.SIG_IGN
        with _handler(signal.SIGHUP, interrupt.handle) if catch else _nothing():
            yield interrupt


@contextlib.contextmanager
def _handler(signum: int, handle: Callable) -> Iterator[None]:
    try:
        before = signal.signal(signum, handle)
    except ValueError:  # Only the main thread can set handlers.
        yield
        return
    try:
        yield
    finally:
        signal.signal(signum, signal.SIG_DFL if before is None else before)


_nothing = contextlib.nullcontext
