"""What a run of several processes and devices needs at its start, and refuses."""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import numpy as np

from jaxfactory._util.errors import UserError
from jaxfactory.checkpoints.checkpoint_files import named_arrays, with_arrays
from jaxfactory.config.train import Config
from jaxfactory.distributed.devices import ONE_DEVICE, Devices
from jaxfactory.distributed.many_devices import ManyDevices
from jaxfactory.distributed.team import Together
from jaxfactory.envs import family, seeds
from jaxfactory.metrics.progress import Progress
from jaxfactory.ppo.learner import TrainState


# Settings that may differ between processes, because only process 0 reads them.
_WRITERS_OWN = ("watch", "checkpoint_minutes", "keep_every", "init_from")


class NoCheckpoints:
    """Stands in for the `Checkpointer` where another process saves the run."""

    saved_frames = 0
    run_dir = None

    def __enter__(self) -> "NoCheckpoints":
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def restore_or(self, state: TrainState, progress: Progress) -> TrainState:
        """Return the initial state."""
        del progress
        return state

    def maybe_save(self, state: TrainState, progress: Progress) -> bool:
        """Do nothing."""
        del state, progress
        return False

    def save(self, state: TrainState, progress: Progress) -> None:
        """Do nothing."""


def choose_devices(config: Config, wanted: str, team: Together) -> Devices:
    """Return the devices that train.

    Args:
        config: All settings.
        wanted: Devices of this process, or ``"all"``.
        team: The processes.

    Raises:
        UserError: If there are not as many, if they cannot share the environments, or
            if a setting works on one device only.
    """
    there = len(jax.local_devices())
    number = there if wanted == "all" else int(wanted)
    if number > there:
        hint = ""
        if jax.default_backend() == "cpu":
            hint = f"; on a CPU, set JAX_NUM_CPU_DEVICES={number}"
        raise UserError(
            f"--devices {number} is more than the {there} that JAX finds here{hint}"
        )
    if number == team.count == 1:
        return ONE_DEVICE
    counts = team.share(number)
    if len(set(counts)) > 1:
        raise UserError(
            f"the processes have {', '.join(map(str, counts))} devices, but need as "
            "many each; give the same --devices to all"
        )
    _refuse(config, team)
    devices = ManyDevices(number, config.env.num_groups, team)
    devices.check(config.env.num_envs, config.ppo.num_minibatches)
    return devices


def _refuse(config: Config, team: Together) -> None:
    ppo = config.ppo
    one_device = {
        f"--bonus {config.intrinsic.bonus}": config.intrinsic.kinds,
        f"--bptt {ppo.bptt}": ppo.num_segments > 1,
        f"--prioritized-alpha {ppo.prioritized_alpha:g}": ppo.prioritized_alpha,
        f"--self-play-share {config.self_play.self_play_share:g}": (
            config.self_play.self_play_share
        ),
    }
    for flag, used in one_device.items():
        if used:
            raise UserError(
                f"{flag} works on one device only; leave it out, or train with one "
                "process and --devices 1"
            )
    if team.count > 1 and config.resume == "exact":
        raise exact_needs_one_process()


def exact_needs_one_process() -> UserError:
    """Return the error of a setting that several processes cannot have."""
    return UserError(
        "--resume exact works in one process only; leave it out, or train with one "
        "process"
    )


def check_same(team: Together, config: Config) -> None:
    """Check that all processes have the same settings.

    Raises:
        UserError: If they differ.
    """
    if team.count == 1:
        return
    settings = _flat(dataclasses.asdict(config))
    first = team.share(settings)[0]
    for name, value in settings.items():
        if first.get(name) != value:
            flag = name.rpartition(".")[2].replace("_", "-")
            raise UserError(
                f"process {team.number} has --{flag} {value} and process 0 has "
                f"{first.get(name)}; give all processes the same settings"
            )


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = str(value)
    return {n: v for n, v in flat.items() if n.partition(".")[0] not in _WRITERS_OWN}


def env_seeds(
    config: Config, frames: int, devices: Devices, team: Together
) -> list[int] | None:
    """Return the seeds of this process's environments, by their global rows.

    Args:
        config: All settings.
        frames: Frames trained on when the episodes begin.
        devices: Those that train.
        team: The processes.

    Returns:
        A seed for each environment; None for those that the pool itself derives.
    """
    rows: Iterable[int] = range(config.env.num_envs)
    if isinstance(devices, ManyDevices):
        rows = devices.global_rows(config.env.num_envs).tolist()
    return seeds_of(rows, config, frames, team)


def seeds_of(
    rows: Iterable[int], config: Config, frames: int, team: Together
) -> list[int] | None:
    """Return the seeds of some environments of all processes.

    Args:
        rows: Those of this process's environments among all.
        config: All settings.
        frames: Frames trained on when the episodes begin.
        team: The processes.

    Returns:
        A seed for each row; None for those that the pool itself derives.
    """
    num_envs = config.env.num_envs * team.count
    found = seeds.env_seeds(config.seed, num_envs, frames)
    if team.count == 1:
        return found
    if found is None:
        found = family.of(config.env.scenario).env_seeds(config.seed, num_envs)
    return [found[row] for row in rows]


def synchronized(
    state: TrainState, progress: Progress, devices: Devices, team: Together
) -> TrainState:
    """Return the state of process 0 on this process's devices; resume its progress.

    Args:
        state: This process's, of the same shapes.
        progress: This process's.
        devices: Those that train.
        team: The processes.
    """
    if team.count > 1:
        state = _as_in_first(state, progress, team)
    if devices.count == 1:
        return state
    arrays = (state.params, state.opt_state, state.normalizer)
    params, opt_state, normalizer = devices.leave(devices.enter(arrays))
    return state._replace(params=params, opt_state=opt_state, normalizer=normalizer)


def _as_in_first(state: TrainState, progress: Progress, team: Together) -> TrainState:
    begun = team.share(progress.state() if team.number == 0 else None)[0]
    if team.number:
        progress.resume(begun)
    state = broadcast(state, from_here=team.number == 0)
    return state._replace(frames=begun["frames"])


def broadcast(state: TrainState, *, from_here: bool) -> TrainState:
    """Return the state of the process that has it; all processes call this.

    Args:
        state: This process's, of the same shapes; its frames are kept.
        from_here: Whether it is the one that all get.
    """
    from jax.experimental import multihost_utils

    arrays = {
        name: array
        for name, array in named_arrays(state._replace(frames=0)).items()
        if array.size and name != "frames"
    }
    arrays = multihost_utils.broadcast_one_to_all(arrays, is_source=from_here)
    arrays = {name: np.asarray(array) for name, array in arrays.items()}
    return with_arrays(state, arrays)._replace(frames=state.frames)
