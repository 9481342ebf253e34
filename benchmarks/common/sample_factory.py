"""Sample Factory's training command, from its own virtual environment.

python -m venv sf && sf/bin/pip install sample-factory==2.1.1 torch vizdoom
"""

import argparse
import contextlib
import os
import signal
import subprocess
from pathlib import Path


ENVS_PER_WORKER = 4
EXPERIMENT = "run"
# A log's last lines may be longer than a message should be.
_LONGEST = 300
_INTERRUPT_S = 20


class FailedError(Exception):
    """Training failed; the message has the last line of its output."""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that say where Sample Factory is and how many environments."""
    parser.add_argument(
        "--sample-factory", type=Path, help="virtual environment with Sample Factory"
    )
    parser.add_argument(
        "--sample-factory-envs", type=int, default=32, help="number of its environments"
    )


def check(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """End the program with a message if the environment has no interpreter."""
    folder = options.sample_factory
    if folder and not (folder / "bin" / "python").exists():
        parser.error(f"--sample-factory {folder} is not a virtual environment")


def command(
    options: argparse.Namespace,
    scenario: str,
    folder: Path,
    frames: int | str,
    seed: int | None = None,
) -> list[str]:
    """Return the command that trains on the CPU, into ``folder / EXPERIMENT``.

    Args:
        options: The values of `add_flags`.
        scenario: The scenario's name, without its prefix.
        folder: Its training directory.
        frames: Frames to train for.
        seed: Its seed; by default a random one.
    """
    # Its name of our my_way_home_flat is doom_my_way_home_flat_actions.
    if scenario.endswith("_flat"):
        scenario = f"{scenario}_actions"
    workers = max(1, options.sample_factory_envs // ENVS_PER_WORKER)
    python = options.sample_factory.absolute() / "bin" / "python"
    return [
        str(python), "-m", "sf_examples.vizdoom.train_vizdoom",
        f"--env=doom_{scenario}", "--device=cpu",
        f"--num_workers={workers}", f"--num_envs_per_worker={ENVS_PER_WORKER}",
        f"--train_dir={folder}", f"--experiment={EXPERIMENT}",
        f"--train_for_env_steps={frames}",
        *([] if seed is None else [f"--seed={seed}"]),
    ]  # fmt: skip


def train(command: list[str], log: Path, seconds: float) -> None:
    """Run a training command to its end; leave none of its processes behind.

    Args:
        command: What `command` returned.
        log: Receives its output.
        seconds: How long it may take.

    Raises:
        FailedError: If it fails or takes longer.
    """
    with log.open("wb") as file:
        process = subprocess.Popen(
            command,
            stdout=file,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
    try:
        code = process.wait(seconds)
    except subprocess.TimeoutExpired:
        raise FailedError(f"it took more than {seconds:,.0f} s") from None
    finally:
        end(process)
    if code:
        last = log.read_text(errors="replace").strip().splitlines()[-1:]
        raise FailedError(f"exit code {code}: {' '.join(last)[:_LONGEST]}")


def end(process: subprocess.Popen) -> None:
    """End a process and those that it started."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_INTERRUPT_S)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
