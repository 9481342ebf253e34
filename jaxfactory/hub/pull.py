"""Making a run of an agent on the Hugging Face Hub.

The agent may be one of ours or one of Sample Factory's. Files come through the
client's cache, all of one commit, and the run is built beside its place and renamed:
it is there as a whole or not at all. Only files that are known by name and suffix are
copied, and what the settings may name `pulled` decides.
"""

import dataclasses
import json
import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from tyro.conf import arg

from jaxfactory._util.errors import UserError
from jaxfactory.config import runs
from jaxfactory.config import train as config_lib
from jaxfactory.hub import errors, push, trust


# Tells whose repository it is; downloaded before anything large is.
_SIGNS = ("config.json", "cfg.json", "checkpoint.json")
_OURS = (
    "model.safetensors", "optimizer.safetensors", push.EVALUATION, push.VIDEO,
    runs.METRICS, runs.TRAINED_ON, f"{runs.TENSORBOARD}/events.out.tfevents.*",
    *(f"{push.SCENARIO}/*{suffix}" for suffix in trust.SCENARIO_FILES),
)  # fmt: skip
_SAMPLE_FACTORY = ("checkpoint_p*/*.pth", "policy_*_cfg.json")
# A run's settings can name a network or a scenario in a Python file, which is then run:
# no stranger's file of that kind may come along.
_CODE = ("*.py", "*.pyc", "*.so")


@dataclass(frozen=True, kw_only=True)
class PullOptions:
    """Make a run of an agent on the Hugging Face Hub, ours or Sample Factory's."""

    repo: Annotated[str, arg(metavar="user/repo")]
    """Where from: user/repo."""
    run: Path | None = None
    """The run's directory, a new one; without it, one under runs/."""
    revision: str | None = None
    """A branch, tag or commit; without it, the newest."""
    scenario: str | None = None
    """Use this scenario instead of the one that the repository's settings name."""
    encoder: str | None = None
    """Where the agent's own encoder is, if it has one (--network is the same flag)."""
    trust_scenario: bool = False
    """Use the scenario (.cfg file and map) that the repository brings: the engine reads
    them unprotected."""
    policy: int | None = None
    """Which policy of a Sample Factory experiment with several; without it, the one
    with the highest reward."""


class Pulled(NamedTuple):
    """What a pull made.

    Attributes:
        run: The run's directory.
        frames: Frames that the agent was trained for.
        notes: What goes on differently from where it came from.
    """

    run: Path
    frames: int
    notes: list[str]


def pull(options: PullOptions, *, weights_only: bool = False) -> Pulled:
    """Make a run of a repository.

    Args:
        options: Which, and what of it may be used.
        weights_only: Only its weights will be read: its settings may name a scenario
            and an encoder that are not here.

    Raises:
        UserError: If the repository cannot be had or holds no agent, or the run
            cannot be made.
    """
    errors.check_repo_id(options.repo)
    if options.run is not None:
        _refuse_existing(options.run)
    signs = _download(options, options.revision, _SIGNS)
    # The same commit, whatever is pushed meanwhile.
    revision = signs.name
    if (signs / "checkpoint.json").is_file():
        folder = _download(options, revision, (*_SIGNS, *_OURS))
        return _pull_ours(options, folder, weights_only)
    if any((signs / name).is_file() for name in ("config.json", "cfg.json")):
        folder = _download(options, revision, (*_SIGNS, *_SAMPLE_FACTORY))
        made = _pull_sample_factory(options, folder)
        if made is not None:
            return made
    raise UserError(
        f"{options.repo} holds no agent of jaxfactory or Sample Factory (neither "
        "checkpoint.json nor checkpoint_p0/*.pth); check its name"
    )


def _download(
    options: PullOptions, revision: str | None, patterns: Iterable[str]
) -> Path:
    from huggingface_hub import snapshot_download

    with errors.sentences(options.repo):
        folder = snapshot_download(
            options.repo,
            revision=revision,
            allow_patterns=list(patterns),
            ignore_patterns=list(_CODE),
        )
    return Path(folder)


def _pull_ours(options: PullOptions, folder: Path, weights_only: bool) -> Pulled:
    from jaxfactory.checkpoints import checkpoint_files, export

    choices = trust.Choices(
        options.scenario or "",
        options.encoder or "",
        options.trust_scenario,
        weights_only,
    )
    config, scenario_files, notes = trust.settle(
        runs.load_config(folder), folder, choices
    )
    run = options.run or _new_run_dir(options.repo, config.env.scenario)
    with _Scratch(run) as scratch:
        frames = export.unpack(folder, scratch.path)
        (saved,) = runs.checkpoint_dirs(scratch.path, "latest")
        if not weights_only:
            trust.check_fits(config, checkpoint_files.read_host(saved)["leaves"])
        for there, here in _copied(folder).items():
            (scratch.path / here).parent.mkdir(exist_ok=True)
            shutil.copyfile(there, scratch.path / here)
        trust.copy_scenario(scenario_files, scratch.path)
        if scenario_files:
            place = run.absolute() / config.env.scenario
            env = dataclasses.replace(config.env, scenario=str(place))
            config = dataclasses.replace(config, env=env)
        text = json.dumps(config_lib.to_dict(config), indent=2) + "\n"
        runs.write_atomically(scratch.path / runs.CONFIG, text)
    return Pulled(run, frames, list(notes))


# What TensorBoard calls its files.
_EVENTS = re.compile(r"events\.out\.tfevents\.[\w.-]+", re.ASCII)


def _copied(folder: Path) -> dict[Path, str]:
    """Return what a run has of a repository as it is, and its name in the run."""
    here = {
        push.EVALUATION: push.EVALUATION,
        push.VIDEO: push.RUN_VIDEO,
        runs.METRICS: runs.METRICS,
        runs.TRAINED_ON: runs.TRAINED_ON,
    }
    events = folder / runs.TENSORBOARD
    if events.is_dir():
        for path in events.iterdir():
            if _EVENTS.fullmatch(path.name) and f"*{path.suffix}" not in _CODE:
                name = f"{runs.TENSORBOARD}/{path.name}"
                here[name] = name
    found = {folder / there: name for there, name in here.items()}
    return {path: name for path, name in found.items() if path.is_file()}


def _pull_sample_factory(options: PullOptions, folder: Path) -> Pulled | None:
    """Import an experiment of Sample Factory; None if the folder holds none."""
    from jaxfactory.sample_factory import convert

    if not convert.is_experiment(folder):
        return None
    if options.trust_scenario or options.encoder:
        flag = "--trust-scenario" if options.trust_scenario else "--network"
        raise UserError(
            f"{options.repo} is an agent of Sample Factory, which brings neither "
            f"scenario nor encoder; leave {flag} out"
        )
    # What it plays, and so its place, is known only once it has been read.
    with _Scratch(options.run or runs.ROOT / options.repo.partition("/")[2]) as scratch:
        made = convert.convert(
            folder, options.scenario, scratch.path, policy=options.policy
        )
        if options.run is None:
            scratch.final = _new_run_dir(options.repo, made.scenario)
    return Pulled(scratch.final, made.frames, made.notes)


class _Scratch:
    """A directory beside the wanted one that becomes it if all goes well.

    Attributes:
        path: The directory to write into.
        final: What it becomes.
    """

    def __init__(self, final: Path) -> None:
        self.final = final
        place = final.absolute()  # "." has no name.
        self.path = place.with_name(f".{place.name}.unfinished")

    def __enter__(self) -> "_Scratch":
        try:
            shutil.rmtree(self.path, ignore_errors=True)
            self.path.mkdir(parents=True)
        except OSError as error:
            raise self._sentence(error) from error
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        try:
            if error is None:
                if self.final.is_dir():  # An empty one, where somebody may be.
                    for child in self.path.iterdir():
                        child.rename(self.final / child.name)
                else:
                    self.final.parent.mkdir(parents=True, exist_ok=True)
                    self.path.rename(self.final)
            elif isinstance(error, OSError):
                raise self._sentence(error) from error
        except OSError as failed:
            raise self._sentence(failed) from failed
        finally:
            shutil.rmtree(self.path, ignore_errors=True)

    def _sentence(self, error: OSError) -> UserError:
        return UserError(
            f"the run {self.final} cannot be written ({error.strerror or error}); "
            "make room, or give --run another directory"
        )


def _refuse_existing(run: Path) -> None:
    if run.is_dir() and not any(run.iterdir()):
        return
    if run.exists():
        raise UserError(
            f"{run} exists already and is not overwritten; give --run a new directory"
        )


def _new_run_dir(repo: str, scenario: str) -> Path:
    name = re.sub(r"\W+", "_", Path(scenario).stem)
    stem = runs.ROOT / name / repo.partition("/")[2]
    path, number = stem, 1
    while path.exists():
        number += 1
        path = stem.with_name(f"{stem.name}-{number}")
    return path
