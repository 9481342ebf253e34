"""A command that ends with the process that started it, however that one ends.

``python -m jaxfactory.cli.sweep_child PARENT train ...`` is ``jaxfactory train ...``,
but saves and exits when the process PARENT is gone: a killed sweep notifies nobody.
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
        args: The parent's process id, and the command's arguments.
    """
    parent, *command = args
    signal.signal(signal.SIGUSR1, _leave)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGUSR1)
    if os.getppid() != int(parent):  # It died before the line above took effect.
        return 128 + signal.SIGTERM
    from jaxfactory.cli import main as cli

    return cli.main(command)


def _leave(signum: int, frame: FrameType | None) -> None:
    """Do what an operator would: at the first SIGTERM a training saves and leaves.

    Only once, as a second one ends it: a parent with several threads dies by and by,
    and each thread's death is told.
    """
    del frame
    signal.signal(signum, signal.SIG_IGN)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
