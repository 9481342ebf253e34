"""Starts JAX's distributed runtime, and the team of processes on top of it.

JAX's public function would host the coordination service in process 0; see
`coordinator`. So this uses the parts that the function is made of.
"""

import contextlib
import os
import secrets
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import jax
from jax._src import clusters, distributed

from jaxfactory._util.errors import UserError
from jaxfactory.distributed import gang as gangs
from jaxfactory.distributed.gang import START_SECONDS, Gang
from jaxfactory.distributed.hub import Hub
from jaxfactory.distributed.team import Team
from jaxfactory.distributed.wire import listen


_KEY = "jaxfactory/hub"
# Seconds for telling the others of this process's end.
_GOODBYE = 3.0
_BOOT = "/proc/sys/kernel/random/boot_id"


class UnreachableError(UserError):
    """The other processes are not there; unlike a mistake, a new start may help."""

    code = 1


@contextlib.contextmanager
def team_of(gang: Gang, timeout: float, wanted: str = "1") -> Iterator[Team]:
    """Start JAX in one of several processes, and end it afterwards.

    Args:
        gang: This process's place.
        timeout: Seconds of silence, or without progress, that end the run.
        wanted: Devices of this process, as in ``--devices``.

    Raises:
        UserError: If the others cannot be reached.
    """
    gang, devices = _with_address(gang)
    devices = own_devices(devices, wanted, os.environ)
    host = gang.coordinator.rpartition(":")[0].strip("[]")
    service = _serve(gang) if gang.number == 0 else None
    hub = None
    try:
        client = _connect(gang, devices)
        if gang.number == 0:
            token = secrets.token_hex(16)
            server = listen("127.0.0.1" if gangs.is_named_loopback(host) else "")
            hub = Hub(server, gang.count, token, timeout)
            hub.start()
            client.key_value_set(_KEY, f"{server.getsockname()[1]} {token}")
        port, token = _published(client).split()
        address = ("127.0.0.1" if gang.number == 0 else host, int(port))
        with Team(
            address, token, gang.number, gang.count, timeout, _disconnect
        ) as team:
            team.on_end(None, partial(_end, hub, service))
            _check_machines(team, gang)
            yield team
    finally:
        _end(hub, service)


def _end(hub: Hub | None, service: subprocess.Popen | None) -> None:
    """In process 0, wait until the others have left, and end the service.

    JAX aborts every process that is still connected to the service when it ends, before
    it can say why. After an error this process is, so the service ends itself soon
    after this process (`coordinator.GRACE`).
    """
    if hub is not None:
        hub.join(_GOODBYE)
    connected = distributed.global_state.client is not None
    if service is not None and service.stdin is not None and not connected:
        with contextlib.suppress(OSError):
            service.stdin.write(b"done\n")
            service.stdin.close()
        service.wait()


def _with_address(gang: Gang) -> tuple[Gang, Any]:
    """Let JAX find the coordinator under Slurm and Open MPI."""
    if gang.coordinator:
        return gang, None
    try:
        address, count, number, devices = (
            clusters.ClusterEnv.auto_detect_unset_distributed_params(
                None, None, None, None, None, START_SECONDS
            )
        )
        if address is None:  # Open MPI 5 does not have what JAX looks for.
            raise ValueError("their launcher does not name the machine of process 0")
    except Exception as error:
        raise UserError(
            f"the other processes cannot be found ({error}); give --coordinator, "
            "--num-processes and --process-id"
        ) from error
    found = Gang(address, count, number)
    if hosts := gangs.several_hosts(os.environ):
        gangs.refuse_loopback(address, hosts)
    return found, devices


def own_devices(
    found: Sequence[int] | None, wanted: str, environ: Mapping[str, str]
) -> Sequence[int] | None:
    """Return the GPUs of its machine that a process uses; None for all it sees.

    Args:
        found: Where JAX would have it learn: a process of a machine's for each GPU.
        wanted: Devices of this process, as in ``--devices``.
        environ: The environment, in which a launcher may have given it some.
    """
    if not found or wanted != "1":
        return None
    given = environ.get("CUDA_VISIBLE_DEVICES")
    if given is not None and max(found) >= len(given.split(",")):
        return None
    return found


def _serve(gang: Gang) -> subprocess.Popen:
    """Start the coordination service in a process of its own."""
    host, _, port = gang.coordinator.rpartition(":")
    only_here = gangs.is_named_loopback(host.strip("[]"))
    bind = f"127.0.0.1:{port}" if only_here else f"[::]:{port}"
    service = subprocess.Popen(
        [sys.executable, "-m", "jaxfactory.distributed.coordinator",
         bind, str(gang.count)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        # Ctrl-C is for the processes that train.
        start_new_session=True,
    )  # fmt: skip
    assert service.stdout is not None
    if service.stdout.readline().strip() != b"ready":
        service.wait()
        raise UserError(
            f"process 0 cannot listen on --coordinator {gang.coordinator}; choose a "
            "free port of its own machine"
        )
    return service


def _connect(gang: Gang, devices: Any) -> Any:
    jax.config.update("jax_enable_recoverability", True)
    # It would replace our handler of SIGTERM.
    jax.config.update("jax_enable_preemption_service", False)
    if devices:
        visible = ",".join(map(str, devices))
        jax.config.update("jax_cuda_visible_devices", visible)
        jax.config.update("jax_rocm_visible_devices", visible)
    state = distributed.global_state
    client = distributed._jax.get_distributed_runtime_client(
        gang.coordinator,
        gang.number,
        init_timeout=START_SECONDS,
        heartbeat_timeout=10**6,
        shutdown_timeout=10,
        use_compression=True,
    )
    try:
        client.connect()
    except Exception as error:
        raise UnreachableError(
            f"process {gang.number} could not reach the coordinator "
            f"{gang.coordinator} within {START_SECONDS} seconds, or not all "
            f"{gang.count} processes did; start them all, with an address of process "
            "0's machine that the others can reach"
        ) from error
    state.client = client
    state.process_id, state.num_processes = gang.number, gang.count
    state.coordinator_address = gang.coordinator
    return client


def _published(client: Any) -> str:
    return client.blocking_key_value_get(_KEY, 1000 * START_SECONDS)


def _check_machines(team: Team, gang: Gang) -> None:
    try:
        with open(_BOOT) as file:
            machine = file.read().strip()
    except OSError:
        machine = socket.gethostname()
    machines = set(team.share(machine))
    if len(machines) > 1:
        gangs.refuse_loopback(gang.coordinator, f"{len(machines)} machines")


def _disconnect() -> None:
    state = distributed.global_state
    client, state.client = state.client, None
    if client is not None:
        with contextlib.suppress(Exception):
            client.shutdown()
