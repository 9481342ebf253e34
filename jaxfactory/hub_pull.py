"""Making a run of an agent on the Hugging Face Hub.

The agent may be one of ours or one of Sample Factory's. Files come through the
client's cache, all of one commit, and the run is built beside its place and renamed:
it is there as a whole or not at all.
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

from jaxfactory import config as config_lib
from jaxfactory import hub, hub_errors, runs
from jaxfactory.errors import UserError


# Tells whose repository it is; downloaded before anything large is.
_SIGNS = ("config.json", "cfg.json", "checkpoint.json")
_OURS = (
    "*.safetensors", hub.EVALUATION, hub.VIDEO, runs.METRICS, f"{runs.TENSORBOARD}/*",
    f"{hub.SCENARIO}/*", runs.TRAINED_ON,
)  # fmt: skip
_SAMPLE_FACTORY = ("checkpoint_p*/*.pth",)
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
    """The scenario of a Sample Factory agent, if its own settings do not tell."""


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


def pull(options: PullOptions) -> Pulled:
    """Make a run of a repository.

    Raises:
        UserError: If the repository cannot be had or holds no agent, or the run
            cannot be made.
    """
    hub_errors.check_repo_id(options.repo)
    if options.run is not None:
        _refuse_existing(options.run)
    signs = _download(options, options.revision, _SIGNS)
    # The same commit, whatever is pushed meanwhile.
    revision = signs.name
    if (signs / "checkpoint.json").is_file():
        return _pull_ours(options, _download(options, revision, (*_SIGNS, *_OURS)))
    if any((signs / name).is_file() for name in ("config.json", "cfg.json")):
        folder = _download(options, revision, (*_SIGNS, *_SAMPLE_FACTORY))
        pulled = _pull_sample_factory(options, folder)
        if pulled is not None:
            return pulled
    raise UserError(
        f"{options.repo} holds no agent of jaxfactory or Sample Factory (neither "
        "checkpoint.json nor checkpoint_p0/*.pth); check its name"
    )


def _download(
    options: PullOptions, revision: str | None, patterns: Iterable[str]
) -> Path:
    from huggingface_hub import snapshot_download

    with hub_errors.sentences(options.repo):
        folder = snapshot_download(
            options.repo,
            revision=revision,
            allow_patterns=list(patterns),
            ignore_patterns=list(_CODE),
        )
    return Path(folder)


def _pull_ours(options: PullOptions, folder: Path) -> Pulled:
    from jaxfactory import bundle

    config = runs.load_config(folder)
    run = options.run or _new_run_dir(options.repo, config.env.scenario)
    with _Scratch(run) as scratch:
        frames = bundle.unpack(folder, scratch.path)
        here = {
            hub.EVALUATION: hub.EVALUATION,
            hub.VIDEO: hub.RUN_VIDEO,
            runs.METRICS: runs.METRICS,
            runs.TRAINED_ON: runs.TRAINED_ON,
        }
        for there, name in here.items():
            if (folder / there).is_file():
                shutil.copyfile(folder / there, scratch.path / name)
        for name in (runs.TENSORBOARD, hub.SCENARIO):
            if (folder / name).is_dir():
                shutil.copytree(folder / name, scratch.path / name)
        scenario = config.env.scenario
        if scenario.startswith(f"{hub.SCENARIO}/"):
            place = run.absolute() / hub.SCENARIO / Path(scenario).name
            env = dataclasses.replace(config.env, scenario=str(place))
            config = dataclasses.replace(config, env=env)
        text = json.dumps(config_lib.to_dict(config), indent=2) + "\n"
        runs.write_atomically(scratch.path / runs.CONFIG, text)
    return Pulled(run, frames, [])


def _pull_sample_factory(options: PullOptions, folder: Path) -> Pulled | None:
    """Import an experiment of Sample Factory; None if the folder holds none."""
    from jaxfactory import sample_factory

    if not sample_factory.is_experiment(folder):
        return None
    # What it plays, and so its place, is known only once it has been read.
    with _Scratch(options.run or runs.ROOT / options.repo.partition("/")[2]) as scratch:
        made = sample_factory.convert(folder, options.scenario, scratch.path)
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
        self.path = final.with_name(f".{final.name}.unfinished")

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
