# ruff: noqa: T201 - the test reads what it prints.
"""A process of a team that trains nothing: NUMBER PORT TIMEOUT WHAT.

WHAT is what it does in its third update: ``go-on``, ``hang`` or ``mistake``.
"""

import atexit
import socket
import sys
import time
from pathlib import Path

from jaxfactory._util.errors import UserError
from jaxfactory.distributed.hub import Hub
from jaxfactory.distributed.team import Team


COUNT = 2


def main(number, port, timeout, what):
    hub = None
    if number == 0:
        server = socket.socket(fileno=port)
        port = server.getsockname()[1]
        hub = Hub(server, COUNT, "secret", timeout)
        hub.start()
        atexit.register(hub.join, 5.0)
    with Team(("127.0.0.1", port), "secret", number, COUNT, timeout) as team:
        if hub is not None:
            # As in training: the others hear why before process 0 is gone.
            team.on_end(None, lambda: hub.join(5.0))
        team.on_end(Path("runs/x"), lambda: print("cleaned up", flush=True))
        for update in range(1_000_000):
            team.begin_update()
            if update == 2 and what == "hang":
                time.sleep(3600)
            if update == 2 and what == "mistake":
                raise UserError(f"process {number} has a flag that is wrong")
            assert team.end_update(update) == [update] * COUNT
            if update == 2:
                print("going on", flush=True)


if __name__ == "__main__":
    try:
        main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), sys.argv[4])
    except UserError as error:
        print(f"jaxfactory: {error}", file=sys.stderr)
        sys.exit(2)
