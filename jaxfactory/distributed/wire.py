"""Messages between the processes of a run: JSON objects, one per line, over TCP."""

import json
import socket
from collections.abc import Iterator
from typing import Any


# A longer message is not one of ours.
_LONGEST = 2**24


def encode(message: dict[str, Any]) -> bytes:
    """Return a message's bytes."""
    return json.dumps(message).encode() + b"\n"


class Lines:
    """Splits what arrives at a socket into messages."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[dict[str, Any]]:
        """Yield the messages that are complete.

        Raises:
            ValueError: If something else than messages arrives.
        """
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > _LONGEST:
            raise ValueError("a message is too long")
        for line in lines:
            message = json.loads(line)
            if not isinstance(message, dict):
                raise ValueError("a message is not an object")
            yield message


def listen(host: str) -> socket.socket:
    """Return a socket that listens on any free port.

    Args:
        host: "" for all of the machine's addresses.
    """
    return socket.create_server((host, 0), backlog=128)
