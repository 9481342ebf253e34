"""The process that hosts JAX's coordination service: ``-m`` this module.

JAX would host the service in process 0. If that process then dies, JAX aborts all
others at once, before they can say why. Here the service outlives process 0 by some
seconds, in which the others end by themselves.
"""

import os
import sys
import time


# Seconds that the service outlives process 0 if that ends without a word.
GRACE = 3.0


def main(address: str, num_processes: str) -> None:
    """Serve until standard input ends.

    Args:
        address: Address to listen on.
        num_processes: Processes of the run.
    """
    from jax._src.lib import _jax

    service = _jax.get_distributed_runtime_service(
        address,
        int(num_processes),
        # Our own deadlines are shorter, and name the process.
        heartbeat_timeout=10**6,
        shutdown_timeout=10,
        recoverable=True,
    )
    print("ready", flush=True)  # noqa: T201 - read by process 0
    said = sys.stdin.readline()
    if not said:
        time.sleep(GRACE)
    del service
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
