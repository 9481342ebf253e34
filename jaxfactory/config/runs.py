"""Run directories: their files, their config.json, and the newest run.

::

    runs/<scenario>/<YYYYmmdd-HHMMSS>/
        config.json          settings
        metrics.jsonl        one object per iteration
        trained_on.json      map files of the training environments
        versions.json        versions, processor and kernels of each session
        tensorboard/
        videos/              with --video-every, named by frames
        checkpoints/latest/  the last two, named by frames
        checkpoints/kept/    with --keep-every, named by frames
        checkpoints/best/    the one with the best mean return
        league.json          with --self-play-share: ratings of the past versions
        snapshots/           with --self-play-share: their weights, named by frames
        population.jsonl     with --num-policies: what happened to the policies
        policies/0/          with --num-policies: policy 0, a run of its own, and so on

Imports no JAX, so the command line can read a run before JAX starts.
"""

import contextlib
import dataclasses
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path

from jaxfactory._util import plain_files, plain_json
from jaxfactory._util.errors import UserError
from jaxfactory.config import train as config_lib
from jaxfactory.config.agents.policy_dirs import POLICIES as POLICIES
from jaxfactory.config.agents.policy_dirs import (
    is_population,
    policy_dir,
    population_of,
)
from jaxfactory.config.train import Config


ROOT = Path("runs")
CONFIG = "config.json"
METRICS = "metrics.jsonl"
TENSORBOARD = "tensorboard"
CHECKPOINTS = "checkpoints"
VIDEOS = "videos"
EVALUATION = "evaluation.json"
TRAINED_ON = "trained_on.json"
LEAGUE = "league.json"
SNAPSHOTS = "snapshots"
POPULATION = "population.jsonl"
LOCK = ".lock"

# A checkpoint's name: its frames, in ASCII digits.
_NUMBER = re.compile("[0-9]{1,20}")

# Settings that determine the shapes and the meaning of the parameters.
FIXED_ENV = (
    "scenario", "width", "height", "grayscale", "depth", "labels", "automap",
    "measurements", "frame_stack",
)  # fmt: skip


def new_run_dir(scenario: str, root: Path = ROOT) -> Path:
    """Create a new run directory, named by scenario and time; return its path.

    No two processes get the same one.
    """
    # The stem of a .cfg file's path; the part after the colon of FILE:NAME.
    short = Path(scenario.rpartition(":")[2]).stem
    stem = root / short / time.strftime("%Y%m%d-%H%M%S")
    path, number = stem, 1
    with _writable(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        while True:
            with contextlib.suppress(FileExistsError):
                path.mkdir()
                return path
            number += 1
            path = stem.with_name(f"{stem.name}-{number}")


def remove_empty(run_dir: Path, root: Path = ROOT) -> None:
    """Remove what `new_run_dir` made, as far as nothing is in it."""
    with contextlib.suppress(OSError):
        for path in (run_dir, run_dir.parent, root):
            path.rmdir()


def checkpoint_dirs(run_dir: Path, kind: str) -> list[Path]:
    """Return the finished checkpoints of a kind, oldest first.

    Those of a population are its first policy's; each policy has as many frames.

    Args:
        run_dir: The run.
        kind: ``"latest"``, ``"best"`` or ``"kept"``.
    """
    folder = run_dir / CHECKPOINTS / kind
    if is_population(run_dir):
        folder = policy_dir(run_dir, 0) / CHECKPOINTS / kind
    if not folder.is_dir():
        return []
    return sorted(
        (path for path in folder.iterdir() if _NUMBER.fullmatch(path.name)),
        key=lambda path: int(path.name),
    )


def find_newest_run(root: Path = ROOT) -> Path:
    """Return the run under ``root`` with the newest checkpoint.

    Raises:
        UserError: If there is none.
    """
    newest: tuple[float, Path] | None = None
    for file in root.glob(f"**/{CONFIG}"):
        if population_of(file.parent):
            continue
        saved = checkpoint_dirs(file.parent, "latest")
        if saved:
            candidate = (saved[-1].stat().st_mtime, file.parent)
            newest = max(newest, candidate) if newest else candidate
    if newest is None:
        raise UserError(
            f"there is no run with a checkpoint under {root}; "
            "train one with `jaxfactory train`, or name one with --run DIR"
        )
    return newest[1]


def is_run(run_dir: Path) -> bool:
    """Whether a directory is a run: it contains settings."""
    return (run_dir / CONFIG).is_file()


def load_config(run_dir: Path) -> Config:
    """Read the settings of a run.

    Raises:
        UserError: If the directory is not a run, or its config.json cannot be read.
    """
    file = run_dir / CONFIG
    if not run_dir.is_dir():
        raise UserError(f"{run_dir} is not a directory; --run takes a run's directory")
    if not file.is_file():
        raise UserError(f"{run_dir} is not a run of jaxfactory: it has no {CONFIG}")
    return read_config(file)


def read_config(file: Path) -> Config:
    """Read a config.json.

    Raises:
        UserError: If it does not exist, cannot be read or is invalid.
    """
    if not file.is_file():
        raise UserError(f"there is no file {file}; give the path of a config.json")
    data = plain_json.read_object(file, limit=plain_json.MIB)
    try:
        return config_lib.from_dict(data)
    except UserError as error:
        raise UserError(f"{file} cannot be read: {error}") from error


def check_run(run_dir: Path, config: Config) -> bool:
    """Create a run directory, or check that an existing one fits the settings.

    Returns:
        Whether the run existed before.

    Raises:
        UserError: If the directory cannot be written, contains something else, or is a
            run with another scenario, observation, network, bonus or seed.
    """
    with _writable(run_dir):
        run_dir.mkdir(parents=True, exist_ok=True)
        existing = is_run(run_dir)
        if existing:
            _check_same(run_dir, load_config(run_dir), config)
        elif any(path.name != LOCK for path in run_dir.iterdir()):
            # Another process may have begun the run at this moment.
            existing = is_run(run_dir)
            if not existing:
                raise UserError(
                    f"{run_dir} is not empty and is not a run of jaxfactory (it has no "
                    f"{CONFIG}); give --run a new directory"
                )
    return existing


def open_run(run_dir: Path, config: Config) -> bool:
    """Do as `check_run` does, and write config.json.

    An existing run takes the new settings where they may differ.
    """
    existing = check_run(run_dir, config)
    write_config(run_dir, config)
    return existing


def write_config(run_dir: Path, config: Config) -> None:
    """Write a run's config.json.

    Raises:
        UserError: If it cannot be written.
    """
    text = json.dumps(config_lib.to_dict(config), indent=2) + "\n"
    with _writable(run_dir):
        write_atomically(run_dir / CONFIG, text)


@contextlib.contextmanager
def _writable(run_dir: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(
            f"the run directory {run_dir} cannot be written ({error.strerror}); "
            "give --run another one"
        ) from error


def write_atomically(path: Path, text: str) -> None:
    """Replace a file so that readers see either the old text or the new text."""
    with plain_files.replacing(path) as file:
        file.write(text.encode())


def _check_same(run_dir: Path, stored: Config, new: Config) -> None:
    pairs = [
        (name, getattr(stored.env, name), getattr(new.env, name)) for name in FIXED_ENV
    ]
    pairs += [
        (field.name, getattr(stored.network, field.name), value)
        for field in dataclasses.fields(stored.network)
        # Parameters are the same in either precision.
        if field.name != "precision"
        for value in [getattr(new.network, field.name)]
    ]
    pairs.append(("seed", stored.seed, new.seed))
    policies = (x.population.num_policies for x in (stored, new))
    pairs.append(("num_policies", *policies))
    pairs.append(("resume", stored.resume, new.resume))
    if stored.resume == "exact":
        pairs.append(("exact_every", stored.exact_every, new.exact_every))
    pairs.append(("bonus", stored.intrinsic.bonus, new.intrinsic.bonus))
    if stored.intrinsic.kinds:
        share = "self_play_share"
        sections = (stored.self_play, new.self_play)
        pairs.append((share, *(getattr(section, share) for section in sections)))
        # The state of a bonus has arrays for every environment.
        pairs.append(("num_envs", stored.env.num_envs, new.env.num_envs))
    changed = [
        (name, old, value)
        for name, old, value in pairs
        if old != value
        and not (name in ("encoder", "scenario") and _has_moved(old, value))
    ]
    if changed:
        was = " ".join(_as_flag(name, old) for name, old, _ in changed)
        now = " ".join(_as_flag(name, value) for name, _, value in changed)
        raise UserError(
            f"the run {run_dir} was trained with {was} and cannot resume with {now}; "
            "leave that out to resume it, or give --run a new directory"
        )


def _has_moved(old: str, new: str) -> bool:
    """Whether two references have the same name in different places."""
    if old.endswith(".cfg") and new.endswith(".cfg"):
        return Path(old).name == Path(new).name
    return ":" in old and ":" in new and old.split(":")[-1] == new.split(":")[-1]


def _as_flag(name: str, value: object) -> str:
    flag = name.replace("_", "-")
    if isinstance(value, bool):
        return f"--{flag}" if value else f"--no-{flag}"
    if isinstance(value, tuple):
        return f"--{flag} " + " ".join(map(str, value))
    return f"--{flag} {value}"
