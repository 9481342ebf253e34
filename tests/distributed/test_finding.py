"""Which processes train together: flags, launchers' variables, and what they refuse."""

import re
import socket
import subprocess

import pytest
import yaml
from places import EXAMPLES

from jaxfactory._util.errors import UserError
from jaxfactory.distributed import gang, runtime
from jaxfactory.distributed.gang import Gang
from jaxfactory.training.options import parse_train


NOTHING = (None, None, None)
SLURM = {"SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "3"}
OPEN_MPI = {"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "1"}
KUBEFLOW = {
    "COORDINATOR_ADDRESS": "192.0.2.7", "COORDINATOR_PORT": "12345",
    "NUM_PROCESSES": "4", "PROCESS_ID": "2",
}  # fmt: skip


@pytest.mark.parametrize(
    ("flags", "environ", "expected"),
    [
        (NOTHING, {}, None),
        (("192.0.2.7:12345", 2, 1), {}, Gang("192.0.2.7:12345", 2, 1)),
        (("127.0.0.1:12345", 2, 1), {}, Gang("127.0.0.1:12345", 2, 1)),
        (("127.0.0.1:12345", 1, 0), {}, None),
        (NOTHING, SLURM, Gang("", 4, 3)),
        (NOTHING, {**SLURM, "SLURM_STEP_NUM_TASKS": "1"}, None),
        (NOTHING, {"SLURM_NTASKS": "4"}, None),  # A batch script without srun.
        (NOTHING, OPEN_MPI, Gang("", 2, 1)),
        (NOTHING, KUBEFLOW, Gang("192.0.2.7:12345", 4, 2)),
        (("192.0.2.7:12345", 2, 1), SLURM, Gang("192.0.2.7:12345", 2, 1)),
    ],
)
def test_a_process_finds_its_place(flags, environ, expected):
    assert gang.find(*flags, environ) == expected
    assert gang.is_named([], environ) == bool(environ and gang.find(*NOTHING, environ))


@pytest.mark.parametrize(
    ("flags", "environ", "message"),
    [
        (("node1:1", 2, None), {}, "belong together; give all three"),
        (("node1", 2, 0), {}, "--coordinator node1 must be the host and a free port"),
        (("node1:0", 2, 0), {}, "--coordinator node1:0 must be the host"),
        (("192.0.2.7:1", 2, 2), {}, "--process-id 2 must be from 0 to 1"),
        (NOTHING, {**KUBEFLOW, "PROCESS_ID": "x"}, "PROCESS_ID='x' is not a number"),
        (
            ("localhost:12345", 4, 0),
            {**SLURM, "SLURM_STEP_NUM_NODES": "2"},
            "localhost:12345 is a loopback address, which no other machine can reach, "
            "but the processes run on 2 machines",
        ),
        (
            ("127.0.0.1:12345", 2, 0),
            {**OPEN_MPI, "OMPI_COMM_WORLD_LOCAL_SIZE": "1"},
            "but the processes run on several machines",
        ),
    ],
)
def test_what_describes_no_place_is_refused(flags, environ, message):
    with pytest.raises(UserError, match=re.escape(message)):
        gang.find(*flags, environ)


def test_the_ready_files_start_processes_of_one_run():
    """The flags in both files exist, and describe processes of one run."""
    script = EXAMPLES / "cluster" / "train.sbatch"
    assert subprocess.run(["bash", "-n", script]).returncode == 0
    text = script.read_text().replace("\\\n", "")
    (command,) = re.findall(r"jaxfactory train (.*) \"\$@\"", text)
    options = parse_train(command.replace('"$run"', "runs/cluster").split())
    assert (options.env.num_envs, options.ppo.num_minibatches) == (256, 1)
    service, job = yaml.safe_load_all(
        (EXAMPLES / "cluster" / "train-job.yaml").read_text()
    )
    pod = job["spec"]["template"]["spec"]
    (shell,) = pod["containers"][0]["args"]
    words = shell.replace('"$JOB_COMPLETION_INDEX"', "3").split()
    assert words[:3] == ["exec", "jaxfactory", "train"]
    options = parse_train(words[3:])
    place = (options.coordinator, options.num_processes, options.process_id)
    assert gang.find(*place, {}) == Gang("train-0.train:12345", 4, 3)
    assert service["metadata"]["name"] == pod["subdomain"] == "train"
    assert job["spec"]["completions"] == job["spec"]["parallelism"] == 4


def test_a_sweep_s_runs_are_alone_whatever_started_it():
    environ = {**SLURM, **OPEN_MPI, **KUBEFLOW, "PATH": "/bin", "SLURM_JOB_ID": "1"}
    assert gang.alone(environ) == {"PATH": "/bin", "SLURM_JOB_ID": "1"}
    assert gang.find(*NOTHING, gang.alone(environ)) is None


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("127.0.1.1", True), ("::1", True), ("localhost", True),
     ("192.0.2.7", False), (socket.gethostname(), False)],
)  # fmt: skip
def test_a_machine_s_own_name_is_no_loopback_address(host, expected):
    """It often resolves to one on that machine, but others connect to another."""
    assert gang.is_named_loopback(host) == expected


@pytest.mark.parametrize(
    ("found", "wanted", "given", "expected"),
    [
        ([3], "1", None, [3]),
        ([3], "1", "0,1,2,3", [3]),
        ([3], "1", "3", None),  # The launcher has given each process its own.
        ([0], "all", None, None),
        (None, "1", None, None),
    ],
)
def test_a_process_sees_its_own_gpus(found, wanted, given, expected):
    environ = {} if given is None else {"CUDA_VISIBLE_DEVICES": given}
    assert runtime.own_devices(found, wanted, environ) == expected


def test_a_launcher_that_does_not_name_process_0_is_reported(monkeypatch):
    """Open MPI 5: JAX finds everything but the address."""
    monkeypatch.setattr(
        runtime.clusters.ClusterEnv,
        "auto_detect_unset_distributed_params",
        lambda *given: (None, 2, 0, None),
    )
    with pytest.raises(UserError, match=r"does not name .*; give --coordinator"):
        runtime._with_address(Gang("", 2, 0))
