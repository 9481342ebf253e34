"""The processes that train together, as one of them sees them.

`Solo` is the team of a process that trains alone.
"""

import contextlib
import os
import select
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from jaxfactory._util.errors import UserError
from jaxfactory._util.plain_files import printable
from jaxfactory._util.signals import (
    Stopped,
    TrainingInterrupted,
    catch_interrupts,
)
from jaxfactory.distributed.hub import BEAT, LONGEST_LOOK
from jaxfactory.distributed.watched_clock import WatchedClock
from jaxfactory.distributed.wire import Lines, encode


# Seconds for cleaning up when another process has ended the run.
_CLEANUP = 3.0
# Seconds that an error waits for the news that another process caused it.
_NEWS = 2.0
_FAILED, _MISTAKE = 1, 2


@runtime_checkable
class Together(Protocol):
    """The processes of a training run.

    Attributes:
        count: Number of processes.
        number: This one's.
    """

    @property
    def count(self) -> int:
        """Number of processes."""

    @property
    def number(self) -> int:
        """This one's."""

    def begin_update(self) -> None:
        """Wait until every process is about to begin the same update."""

    def end_update(self, what: Any) -> list[Any]:
        """Share something after an update, as `share` does."""

    def share(self, what: Any) -> list[Any]:
        """Return what every process shares, which JSON can hold, by their numbers."""

    def after_training(self) -> None:
        """Tell the others that no update follows."""

    def on_end(self, run_dir: Path, cleanup: Callable[[], None]) -> None:
        """Have something done if another process ends the run."""


class Solo:
    """A process that trains alone."""

    count = 1
    number = 0

    def begin_update(self) -> None:
        """Do nothing."""

    def end_update(self, what: Any) -> list[Any]:
        """Return what it is given."""
        return [what]

    def share(self, what: Any) -> list[Any]:
        """Return what it is given."""
        return [what]

    def after_training(self) -> None:
        """Do nothing."""

    def on_end(self, run_dir: Path, cleanup: Callable[[], None]) -> None:
        """Do nothing."""


SOLO = Solo()


class Team:
    """One of several processes; a context manager that says goodbye to the others.

    A thread listens to the hub. When that ends the run, or is silent itself, the thread
    prints why, cleans up and ends this process: its main thread may be stuck in a
    collective that never ends.

    Args:
        address: The hub's.
        token: The hub's secret.
        number: This process's number.
        count: Number of processes.
        timeout: Seconds of silence after which the hub is taken for dead.
        leave: Called when all have come to the end, before this process says goodbye.
    """

    def __init__(
        self,
        address: tuple[str, int],
        token: str,
        number: int,
        count: int,
        timeout: float,
        leave: Callable[[], None] = lambda: None,
    ) -> None:
        self._leave = leave
        self.number, self.count = number, count
        self._timeout = timeout
        self._socket = socket.create_connection(address, timeout=60.0)
        self._socket.settimeout(max(timeout, 2 * BEAT))
        self._sending = threading.Lock()
        self._changed = threading.Condition()
        self._answers: dict[int, list[Any]] = {}
        self._rounds = 0
        self._steps = 0
        self._closing = threading.Event()
        self._ending = threading.Lock()  # Whoever has it reports why.
        self._cleanups: list[Callable[[], None]] = []
        self._resume = ""
        self._name = f"process {number} (pid {os.getpid()} on {socket.gethostname()})"
        self._hub_name = f"process 0 on {address[0]}"
        self._send({"hello": number, "token": token, "name": self._name})
        for run in (self._listen, self._beat):
            threading.Thread(target=run, name="team", daemon=True).start()

    def __enter__(self) -> "Team":
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: object) -> None:
        if error is None or isinstance(error, TrainingInterrupted):
            with catch_interrupts():  # They stop the others' saving, otherwise.
                self.share(None)  # Nobody leaves before all have come here.
            self._leave()
            self._closing.set()
            self._goodbye()
            return
        memory = "RESOURCE_EXHAUSTED" in str(error)
        if type(error).__name__ == "JaxRuntimeError" and not memory:
            # If a collective failed, the hub will say which process is the cause.
            _print(f"{self._name}: {_first_line(error)}")
            time.sleep(self._timeout + _NEWS)
        if not self._ending.acquire(blocking=False):
            threading.Event().wait()  # The listening thread ends this process.
        self._closing.set()
        mistake = isinstance(error, UserError)
        text = f"{self._name} failed: {_first_line(error)}"
        if mistake or isinstance(error, Stopped):
            text = str(error) if mistake else f"{self._name} was {error}"
        told = self._say({"failed": text, "mistake": mistake})
        self._goodbye()
        if mistake and told and self.number:
            # Process 0 reports it, once for all.
            raise SystemExit(_MISTAKE) from error

    def begin_update(self) -> None:
        """Wait until every process is about to begin the same update.

        Gloo's collectives fail when one of the processes comes half a minute later.
        """
        self._steps += 1
        self.share(None)

    def end_update(self, what: Any) -> list[Any]:
        """Share the results of an update; see `share`."""
        self._steps += 1
        return self.share(what)

    def share(self, what: Any) -> list[Any]:
        """Return what every process shares, in the order of their numbers."""
        number = self._rounds = self._rounds + 1
        self._send({"round": number, "shared": what, "steps": self._steps})
        with self._changed:
            while number not in self._answers:
                self._changed.wait(BEAT)  # Signals are handled in between.
            return self._answers.pop(number)

    def after_training(self) -> None:
        """Tell the hub that no update follows."""
        self._steps = -1
        self._send({"steps": -1})

    def on_end(self, run_dir: Path | None, cleanup: Callable[[], None]) -> None:
        """Have something cleaned up if the run ends without this process's doing.

        Args:
            run_dir: The run, for the message; None if there is none yet.
            cleanup: Called on another thread, the last one given first.
        """
        if run_dir is not None:
            self._resume = (
                f"; resume in {self.count} processes with: jaxfactory train --run "
                f"{run_dir}"
            )
        self._cleanups.append(cleanup)

    def _send(self, message: dict[str, Any]) -> None:
        try:
            with self._sending:
                self._socket.sendall(encode(message))
        except OSError:
            # The listening thread ends this process with the reason.
            time.sleep(self._timeout + _CLEANUP)
            raise

    def _say(self, message: dict[str, Any]) -> bool:
        """Send a message; return whether the hub's connection took it."""
        try:
            with self._sending:
                self._socket.sendall(encode(message))
        except OSError:
            return False
        return True

    def _goodbye(self) -> None:
        self._say({"bye": True})
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    def _beat(self) -> None:
        while not self._closing.wait(BEAT):
            self._say({"beat": True})

    def _listen(self) -> None:
        lines, clock = Lines(), WatchedClock(LONGEST_LOOK)
        heard = clock()
        # Not select(), which takes no descriptors above 1,023.
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        while True:
            try:
                if not poll.poll(1000 * BEAT):
                    if clock() - heard <= max(self._timeout, 2 * BEAT):
                        continue
                    seconds = f"{self._timeout:.0f} seconds"
                    self._end(f"{self._hub_name} has not answered for {seconds}")
                    return
                data = self._socket.recv(2**16)
            except OSError:
                data = b""
            heard = clock()
            if not data:
                self._end(f"{self._hub_name} has ended")
                return
            for message in lines.feed(data):
                if "everything" in message:
                    with self._changed:
                        self._answers[message["round"]] = message["everything"]
                        self._changed.notify_all()
                if "end" in message:
                    self._end(message["end"], mistake=message["mistake"])
                    return

    def _end(self, reason: str, *, mistake: bool = False) -> None:
        """End this process, unless it is ending by itself."""
        if not self._ending.acquire(blocking=False) or self._closing.is_set():
            return
        text = reason
        if not mistake:
            text = f"{text}; training stops here too{self._resume}"
        if not mistake or self.number == 0:
            _print(text)
        worker = threading.Thread(target=self._clean_up, daemon=True)
        worker.start()
        worker.join(_CLEANUP)
        os._exit(_MISTAKE if mistake else _FAILED)

    def _clean_up(self) -> None:
        for cleanup in reversed(self._cleanups):
            with contextlib.suppress(Exception):
                cleanup()


def _print(text: str) -> None:
    # Not through sys.stderr, whose lock the main thread may hold.
    with contextlib.suppress(OSError):
        os.write(2, f"jaxfactory: {printable(text)}\n".encode(errors="replace"))


def _first_line(error: BaseException) -> str:
    text = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {text[:200]}" if text else type(error).__name__
