"""Downloads an agent from the Hugging Face Hub into a run directory.

The agent may be jaxfactory's or Sample Factory's. All files come from one commit,
through the client's cache. The run is built in a temporary directory and renamed, so
that it is either complete or absent. Only files with known names and suffixes are
copied; `trust` decides which settings are used.
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
from jaxfactory.hub import checkpoint_fit, errors, push, trust


# Downloaded first: these small files tell which kind of repository it is.
_SIGNS = ("config.json", "cfg.json", "checkpoint.json")
_OURS = (
    "model.safetensors", "optimizer.safetensors", push.EVALUATION, push.VIDEO,
    runs.METRICS, runs.TRAINED_ON, f"{runs.TENSORBOARD}/events.out.tfevents.*",
    *(f"{push.SCENARIO}/*{suffix}" for suffix in trust.SCENARIO_FILES),
)  # fmt: skip
_SAMPLE_FACTORY = ("checkpoint_p*/*.pth", "policy_*_cfg.json")
# A run's settings can name a network or a scenario in a Python file, which is then
# executed: code from a repository must never get into a run.
_CODE = ("*.py", "*.pyc", "*.so")


@dataclass(frozen=True, kw_only=True)
class PullOptions:
    """Download an agent from the Hugging Face Hub into a run directory.

    The agent may have been trained with jaxfactory or Sample Factory.
    """

    repo: Annotated[str, arg(metavar="user/repo")]
    """The repository, user/repo."""
    run: Path | None = None
    """The new run directory; by default one below runs/."""
    revision: str | None = None
    """Branch, tag or commit; by default the newest commit."""
    scenario: str | None = None
    """Override the scenario that the repository's settings name."""
    encoder: str | None = None
    """The agent's custom encoder, if it has one (alias: --network)."""
    trust_scenario: bool = False
    """Use the repository's own scenario files; the engine reads them unprotected."""
    policy: int | None = None
    """Sample Factory policy to import; by default the one with the highest reward."""


class Pulled(NamedTuple):
    """A downloaded run.

    Attributes:
        run: The run directory.
        frames: Frames that the agent was trained for.
        notes: One sentence for each difference from the original.
    """

    run: Path
    frames: int
    notes: list[str]


def pull(options: PullOptions, *, weights_only: bool = False) -> Pulled:
    """Download a repository into a new run directory.

    Args:
        options: The repository and what of it may be used.
        weights_only: Only the weights will be read, so the settings may name a
            scenario and an encoder that this machine lacks.

    Raises:
        UserError: If the repository cannot be downloaded or holds no agent, or the
            run cannot be written.
    """
    errors.check_repo_id(options.repo)
    if options.run is not None:
        _refuse_existing(options.run)
    signs = _download(options, options.revision, _SIGNS)
    # Stay on one commit even if another is pushed meanwhile.
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
    from jaxfactory.checkpoints import export, host_file

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
            leaves = host_file.read(saved)["leaves"]
            checkpoint_fit.check_fits(config, leaves)
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


# Names of TensorBoard's event files.
_EVENTS = re.compile(r"events\.out\.tfevents\.[\w.-]+", re.ASCII)


def _copied(folder: Path) -> dict[Path, str]:
    """Return the files that are copied unchanged, with their names in the run."""
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
            f"{options.repo} is a Sample Factory agent, which contains neither a "
            f"scenario nor an encoder; leave out {flag}"
        )
    # The default run directory depends on the scenario, which is known after reading.
    with _Scratch(options.run or runs.ROOT / options.repo.partition("/")[2]) as scratch:
        made = convert.convert(
            folder, options.scenario, scratch.path, policy=options.policy
        )
        if options.run is None:
            scratch.final = _new_run_dir(options.repo, made.scenario)
    return Pulled(scratch.final, made.frames, made.notes)


class _Scratch:
    """A temporary directory that is renamed to the final one on success.

    Attributes:
        path: The temporary directory.
        final: The final directory.
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
            raise self._user_error(error) from error
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        try:
            if error is None:
                if self.final.is_dir():  # Empty, and perhaps some shell's directory.
                    for child in self.path.iterdir():
                        child.rename(self.final / child.name)
                else:
                    self.final.parent.mkdir(parents=True, exist_ok=True)
                    self.path.rename(self.final)
            elif isinstance(error, OSError):
                raise self._user_error(error) from error
        except OSError as failed:
            raise self._user_error(failed) from failed
        finally:
            shutil.rmtree(self.path, ignore_errors=True)

    def _user_error(self, error: OSError) -> UserError:
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
