"""A command that stops when its parent process ends, even if that is killed.

``python -m jaxfactory.cli.sweep_child PARENT train ...`` runs ``jaxfactory train ...``,
and saves and exits when the process PARENT has ended.
"""

import ctypes
import os
import signal
import sys
from types import FrameType


# <linux/prctl.h>: the signal that the kernel sends when the parent dies.
_PR_SET_PDEATHSIG = 1


def main(args: list[str]) -> int:
    """Run a command as the child of a process.

    Args:
        args: The parent's process ID, followed by the command's arguments.
    """
    parent, *command = args
    signal.signal(signal.SIGUSR1, _leave)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGUSR1)
    if os.getppid() != int(parent):  # It ended before the line above took effect.
        return 128 + signal.SIGTERM
    from jaxfactory.cli import main as cli

    return cli.main(command)


def _leave(signum: int, frame: FrameType | None) -> None:
    """Send this process SIGTERM, at which a training run saves and exits.

    Only once, because a second SIGTERM kills it, and the kernel sends the signal for
    each thread of the parent that ends.
    """
    del frame
    signal.signal(signum, signal.SIG_IGN)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
