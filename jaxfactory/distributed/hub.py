"""Process 0's hub: passes messages between the processes, and notices who is silent.

Every process, number 0 too, sends it a beat each second, a mark when it begins an
update, and what it wants to share after the update. The hub ends the run if

- a connection closes before its process has said goodbye (it was killed),
- no beat comes from a process (it was stopped, or its machine is gone), or
- processes wait for one that makes no progress (its pool hangs).

It then tells all which process it was, and each ends by itself.
"""

import contextlib
import selectors
import socket
import threading
import time
from typing import Any

from jaxfactory.distributed.gang import START_SECONDS
from jaxfactory.distributed.watched_clock import WatchedClock
from jaxfactory.distributed.wire import Lines, encode


BEAT = 1.0
# A longer time without looking is a pause.
LONGEST_LOOK = 3 * BEAT
_SEND_SECONDS = 5.0
# Seconds that the hub waits for the others to leave when the run is over.
_LEAVING = 2.0


class _Member:
    def __init__(self, connection: socket.socket, now: float) -> None:
        self.connection = connection
        self.lines = Lines()
        self.heard = now
        self.number = -1
        self.name = ""
        self.steps = 0
        self.left = False
        self.closed = False


class Hub:
    """Serves on a thread of its own.

    Args:
        server: A listening socket.
        count: Number of processes.
        token: A secret that members must know.
        timeout: Seconds of silence, or without progress, that end the run.
    """

    def __init__(
        self, server: socket.socket, count: int, token: str, timeout: float
    ) -> None:
        self._server = server
        self._count = count
        self._token = token
        self._timeout = timeout
        self._members: dict[int, _Member] = {}
        self._gathered: dict[int, dict[int, Any]] = {}
        self._clock = WatchedClock(LONGEST_LOOK)
        self._moved = self._clock()
        self._slowest = 0
        self._over = False
        self._selector = selectors.DefaultSelector()
        self._selector.register(server, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._run, name="hub", daemon=True)

    def start(self) -> None:
        """Begin to serve."""
        self._thread.start()

    def join(self, seconds: float) -> None:
        """Wait until the run is over and the other processes have left."""
        self._thread.join(seconds)

    def _run(self) -> None:
        beaten = -BEAT
        while not self._over:
            for key, _ in self._selector.select(BEAT / 2):
                if key.fileobj is self._server:
                    self._accept()
                else:
                    self._receive(key.data)
            now = self._clock()
            if now - beaten >= BEAT:
                self._send_all({"beat": now})
                beaten = now
            self._check(now)
        limit = time.monotonic() + _LEAVING
        while time.monotonic() < limit and not self._others_closed():
            for key, _ in self._selector.select(BEAT / 10):
                if key.fileobj is not self._server:
                    self._receive(key.data)
        for key in list(self._selector.get_map().values()):
            key.fileobj.close()  # type: ignore[union-attr]

    def _others_closed(self) -> bool:
        return all(m.closed for number, m in self._members.items() if number)

    def _accept(self) -> None:
        connection, _ = self._server.accept()
        connection.settimeout(_SEND_SECONDS)
        member = _Member(connection, self._clock())
        self._selector.register(connection, selectors.EVENT_READ, member)

    def _receive(self, member: _Member) -> None:
        try:
            data = member.connection.recv(2**16)
            messages = list(member.lines.feed(data)) if data else []
        except (OSError, ValueError):
            data, messages = b"", []
        member.heard = self._clock()
        for message in messages:
            if member.number < 0 and message.get("token") != self._token:
                data = b""  # A stranger.
                break
            self._take(member, message)
        if not data:
            self._selector.unregister(member.connection)
            member.connection.close()
            member.closed = True
            if member.number >= 0 and not (member.left or self._over):
                self._end(f"{member.name} has ended")

    def _take(self, member: _Member, message: dict[str, Any]) -> None:
        if "hello" in message:
            member.number, member.name = int(message["hello"]), message["name"]
            self._members[member.number] = member
        if "steps" in message:
            member.steps = int(message["steps"])
        if "failed" in message:
            self._end(message["failed"], mistake=message["mistake"])
        if "round" in message:
            number = int(message["round"])
            shared = self._gathered.setdefault(number, {})
            shared[member.number] = message["shared"]
            if len(shared) == self._count:
                everything = [shared[each] for each in range(self._count)]
                self._send_all({"round": number, "everything": everything})
                del self._gathered[number]
        if "bye" in message:
            member.left = True
            everyone = len(self._members) == self._count
            self._over = everyone and all(m.left for m in self._members.values())

    def _check(self, now: float) -> None:
        if self._over or len(self._members) < self._count:
            self._moved = now
            return
        for _, member in sorted(self._members.items()):
            silent = now - member.heard
            if silent > self._timeout and not member.left:
                what = f"has not answered for {silent:.0f} seconds"
                self._end(f"{member.name} {what}")
                return
        steps = {number: m.steps for number, m in self._members.items()}
        slowest = min(steps.values())
        if slowest != self._slowest:
            self._slowest, self._moved = slowest, now
        # The first rollout and update compile their programs; after training, at -1,
        # there is no limit.
        limit = self._timeout if slowest > 2 else max(self._timeout, START_SECONDS)
        waited = now - self._moved
        if slowest < 0 or any(m.left for m in self._members.values()):
            self._moved = now
        elif waited > limit:
            behind = [number for number, each in steps.items() if each == slowest]
            names = ", ".join(self._members[number].name for number in behind)
            if len(behind) == self._count:
                names = "no process"
            what = "begun" if slowest % 2 == 0 else "finished"
            update = slowest // 2 + 1
            verb = "has" if len(behind) in (1, self._count) else "have"
            negated = "" if len(behind) == self._count else "not "
            text = f"{names} {verb} {negated}{what} update {update} of this session"
            self._end(f"{text} within {limit:.0f} seconds")

    def _end(self, reason: str, *, mistake: bool = False) -> None:
        self._over = True
        self._send_all({"end": reason, "mistake": mistake})

    def _send_all(self, message: dict[str, Any]) -> None:
        data = encode(message)
        for member in self._members.values():
            if not member.left or "end" not in message:
                # If it fails, its silence or its end follows.
                with contextlib.suppress(OSError):
                    member.connection.sendall(data)
