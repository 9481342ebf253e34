"""Extrapolates throughput to more devices and machines, from measured constants.

A model, not a measurement: every row is arithmetic on the constants of `Measured` and
the assumptions of `ASSUMED`.
"""

from typing import Any, NamedTuple


# Assumptions, all of them in one place; the tables quote them.
ASSUMED = {
    # Between machines: bytes/s, and seconds of a message.
    "network_bytes_per_second": 25e9 / 8,
    "network_seconds": 50e-6,
    # Between GPUs of a machine.
    "gpu_link_bytes_per_second": 200e9,
    "gpu_link_seconds": 20e-6,
    # Cores of a machine with 8 GPUs, and useful operations/s of a GPU in small
    # convolutions: a few percent of what it can do at most.
    "gpu_machine_cores": 96,
    "gpu_operations_per_second": 3e12,
    # Operations per sample of the default network forward; a gradient takes three times
    # as many.
    "forward_operations": 6.8e6,
}


class Measured(NamedTuple):
    """Constants of this machine, in one process without collectives.

    Attributes:
        frames: Frames of a rollout.
        rollout_seconds: Acting and stepping for it.
        update_seconds: One update.
        epochs: Passes over the rollout.
        core_rate: Frames/s that the engines of one core step, without acting.
        all_reduces: Collectives of an update.
        all_reduce_bytes: Their bytes per device.
    """

    frames: int
    rollout_seconds: float
    update_seconds: float
    epochs: int
    core_rate: float
    all_reduces: int
    all_reduce_bytes: int


def ring_seconds(
    count: int, collectives: int, nbytes: int, rate: float, delay: float
) -> float:
    """Return the seconds of all-reduces in a ring.

    Each device sends its bytes twice, less one part in `count` of them, in
    ``2 (count - 1)`` messages.
    """
    hops = 2 * (count - 1)
    return hops * (collectives * delay + nbytes / count / rate)


def hosts(measured: Measured, counts: tuple[int, ...]) -> list[dict[str, Any]]:
    """Return rows for machines like the measured one, each with the same batch.

    Sync mode, and one minibatch per epoch, which needs no exchange of observations.
    """
    alone = measured.rollout_seconds + measured.update_seconds
    rows = []
    for count in counts:
        network = ring_seconds(
            count,
            measured.all_reduces,
            measured.all_reduce_bytes,
            ASSUMED["network_bytes_per_second"],
            ASSUMED["network_seconds"],
        )
        seconds = alone + network
        rows.append(
            {
                "hosts": count,
                "frames_per_second": count * measured.frames / seconds,
                "efficiency": alone / seconds,
                "collective_seconds": network,
            }
        )
    return rows


def gpus(measured: Measured, counts: tuple[int, ...]) -> list[dict[str, Any]]:
    """Return rows for the GPUs of one machine, in async mode.

    The engines of its cores and the GPUs work at the same time; the slower of the two
    decides.
    """
    samples_per_frame = 1 / 4
    operations = ASSUMED["forward_operations"] * (1 + 3 * measured.epochs)
    gpu_rate = ASSUMED["gpu_operations_per_second"] / operations / samples_per_frame
    engines = ASSUMED["gpu_machine_cores"] * measured.core_rate
    rows = []
    for count in counts:
        link = ring_seconds(
            count,
            measured.all_reduces,
            measured.all_reduce_bytes,
            ASSUMED["gpu_link_bytes_per_second"],
            ASSUMED["gpu_link_seconds"],
        )
        # Each GPU has a batch as large as the measured one.
        learning = count * measured.frames / (measured.frames / gpu_rate + link)
        rows.append(
            {
                "gpus": count,
                "engines_frames_per_second": engines,
                "learning_frames_per_second": learning,
                "frames_per_second": min(engines, learning),
                "collective_seconds": link,
            }
        )
    return rows
