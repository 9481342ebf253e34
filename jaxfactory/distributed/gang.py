"""Which processes train together: from flags, or from what started them.

Does not import JAX.
"""

import contextlib
import ipaddress
import socket
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from jaxfactory._util.errors import UserError


# Seconds that processes wait for the others to start.
START_SECONDS = 600


class Gang(NamedTuple):
    """One process's place among those that train together.

    Attributes:
        coordinator: Host and port of JAX's coordinator, on the machine of process 0;
            "" to let JAX find it.
        count: Number of processes.
        number: This one's, from 0.
    """

    coordinator: str
    count: int
    number: int


# What launchers set: address, port (or "" if it is part of the address), processes and
# number of the process.
_VARIABLES = (
    ("JAX_COORDINATOR_ADDRESS", "", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID"),
    ("COORDINATOR_ADDRESS", "COORDINATOR_PORT", "NUM_PROCESSES", "PROCESS_ID"),
)
# Number of processes, of this process, and of its machines' processes or machines.
_SLURM = ("SLURM_STEP_NUM_TASKS", "SLURM_PROCID")
_OPEN_MPI = ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK")


def find(
    coordinator: str | None,
    num_processes: int | None,
    process_id: int | None,
    environ: Mapping[str, str],
) -> Gang | None:
    """Return this process's place; None if it trains alone.

    Args:
        coordinator: The flag ``--coordinator``, and so on; None if not given.
        num_processes: Number of processes.
        process_id: Number of this one.
        environ: The environment's variables.

    Raises:
        UserError: If the flags do not describe a process of several.
    """
    given = (coordinator, num_processes, process_id)
    if given == (None, None, None):
        return _from_environment(environ)
    if None in given:
        raise UserError(
            "--coordinator HOST:PORT, --num-processes N and --process-id I belong "
            "together; give all three, or none under Slurm, Open MPI and Kubernetes"
        )
    assert coordinator is not None
    assert num_processes is not None
    assert process_id is not None
    return _checked(Gang(coordinator, num_processes, process_id), environ)


def is_named(args: Sequence[str], environ: Mapping[str, str]) -> bool:
    """Whether flags or the environment name one of several processes."""
    if any(arg.startswith(("--num-processes", "--num_processes")) for arg in args):
        return True
    return _from_environment(environ) is not None


def alone(environ: Mapping[str, str]) -> dict[str, str]:
    """Return variables of an environment in which a process trains alone."""
    names = {name for names in (*_VARIABLES, _SLURM, _OPEN_MPI) for name in names}
    return {name: value for name, value in environ.items() if name not in names}


def _from_environment(environ: Mapping[str, str]) -> Gang | None:
    for address, port, count, number in _VARIABLES:
        if environ.get(address) and environ.get(count):
            place = environ[address]
            if port and environ.get(port):
                place = f"{place}:{environ[port]}"
            total, own = _number(environ, count), _number(environ, number)
            return _checked(Gang(place, total, own), environ) if total > 1 else None
    for count, number in (_SLURM, _OPEN_MPI):
        if environ.get(count, "1") != "1":
            return Gang("", _number(environ, count), _number(environ, number))
    return None


def _number(environ: Mapping[str, str], name: str) -> int:
    text = environ.get(name, "")
    if not text.isdecimal():
        raise UserError(
            f"the environment's {name}={text!r} is not a number of processes; set it, "
            "or give --coordinator, --num-processes and --process-id"
        )
    return int(text)


def _checked(gang: Gang, environ: Mapping[str, str]) -> Gang | None:
    host, colon, port = gang.coordinator.rpartition(":")
    if not (colon and host and port.isdecimal() and 0 < int(port) < 65536):
        raise UserError(
            f"--coordinator {gang.coordinator} must be the host and a free port of "
            "process 0, as in node1:12345"
        )
    if not 0 <= gang.number < gang.count:
        raise UserError(
            f"--process-id {gang.number} must be from 0 to {gang.count - 1}, one less "
            f"than --num-processes {gang.count}"
        )
    if gang.count == 1:
        return None
    if hosts := several_hosts(environ):
        refuse_loopback(gang.coordinator, hosts)
    return gang


def several_hosts(environ: Mapping[str, str]) -> str:
    """Return how many machines the processes are on, as far as their launcher says."""
    nodes = environ.get("SLURM_STEP_NUM_NODES", "1")
    if nodes.isdecimal() and int(nodes) > 1:
        return f"{nodes} machines"
    size, here = (
        environ.get(f"OMPI_COMM_WORLD_{name}", "") for name in ("SIZE", "LOCAL_SIZE")
    )
    return "several machines" if size != here else ""


def is_named_loopback(host: str) -> bool:
    """Whether a host is given as the machine itself.

    A machine's own name often resolves to a loopback address on it, and to another one
    on other machines.
    """
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


def is_loopback(host: str) -> bool:
    """Whether a host's name or address is reachable only from its own machine."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return False
    return all(ipaddress.ip_address(each[4][0]).is_loopback for each in found)


def refuse_loopback(coordinator: str, hosts: str) -> None:
    """Refuse an address that processes on other machines cannot reach.

    Raises:
        UserError: If the coordinator's is one.
    """
    host = coordinator.rpartition(":")[0].strip("[]")
    if is_loopback(host):
        raise UserError(
            f"the coordinator {coordinator} is a loopback address, which no other "
            f"machine can reach, but the processes run on {hosts}; give --coordinator "
            "the address of process 0's machine in their network"
        )
