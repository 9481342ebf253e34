"""Publishes a run's agent on the Hugging Face Hub; `pull` is the inverse.

A repository contains the checkpoint as safetensors (see `checkpoints.export`), the
settings, evaluation, video and metrics, and a model card. A single commit writes all
of it, so that a repository is never incomplete.

Token, cache, HF_ENDPOINT and HF_HUB_OFFLINE are those of ``huggingface_hub``.
"""

import dataclasses
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from tyro.conf import arg

from jaxfactory._util.errors import UserError
from jaxfactory.config import runs
from jaxfactory.config import train as config_lib
from jaxfactory.config.train import Config
from jaxfactory.evaluation import evaluation_file
from jaxfactory.hub import errors, model_card


CARD = "README.md"
EVALUATION = "evaluation.json"
VIDEO = "replay.mp4"
RUN_VIDEO = "evaluation.mp4"
SCENARIO = "scenario"

# Files of an earlier push to delete if this push does not have them.
_REPLACED = re.compile(rf"(optimizer\.safetensors|{VIDEO}|{runs.METRICS}|"
                       rf"{runs.TRAINED_ON}|{runs.TENSORBOARD}/.*|{SCENARIO}/.*)"
                       )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class PushOptions:
    """Publish a run's agent on the Hugging Face Hub, with its score and video."""

    run: Annotated[Path, arg(metavar="RUN")]
    """The run directory; the run must have been evaluated."""
    repo: Annotated[str, arg(metavar="user/repo")]
    """The repository, user/repo; created if it does not exist."""
    private: bool = False
    """Create a private repository."""
    commit_message: str | None = None
    """Commit message; by default the score."""
    optimizer: bool = True
    """Include the optimizer state, so that training can resume exactly."""


class Pushed(NamedTuple):
    """A published agent.

    Attributes:
        url: The repository's URL.
        score: The score in the model card.
        video: Whether the repository has a video.
    """

    url: str
    score: str
    video: bool


def check_login(repo: str) -> None:
    """Check early that a push can work.

    Raises:
        UserError: If the name is invalid, or no token with write access is set.
    """
    from huggingface_hub import HfApi

    errors.check_repo_id(repo)
    with errors.sentences(repo):
        me = HfApi().whoami()
    token = me.get("auth", {}).get("accessToken", {})
    if token.get("role") == "read":
        raise UserError(f"the token of {me.get('name')} may only read; {errors.LOGIN}")


def push(options: PushOptions) -> Pushed:
    """Publish a run.

    Raises:
        UserError: If the run is not ready, or the Hub rejects it.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

    errors.check_repo_id(options.repo)
    from jaxfactory.checkpoints.saved_run import policy_run

    options = dataclasses.replace(options, run=policy_run(options.run))
    config, result, checkpoint = _evaluated(options.run)
    api = HfApi()
    with errors.sentences(options.repo):
        url = api.create_repo(options.repo, private=options.private, exist_ok=True)
        info = api.repo_info(options.repo)
    if options.private and not info.private:
        raise UserError(
            f"{options.repo} exists and is public; make it private in its settings on "
            "the Hub, leave out --private, or choose another name"
        )
    files = _files(options, config, result, checkpoint)
    name = model_card.environment_id(config.env.scenario)
    score = model_card.score(result)
    message = options.commit_message or (
        f"{name}: {score} after {result['frames_trained']:,} frames"
    )
    with errors.sentences(options.repo):
        # The client skips files that did not change, or that an interrupted push has
        # already sent.
        old = [file.rfilename for file in info.siblings or []]
        gone = [x for x in old if _REPLACED.fullmatch(x) and x not in files]
        api.create_commit(
            options.repo,
            [CommitOperationAdd(path, content) for path, content in files.items()]
            + [CommitOperationDelete(path, is_folder=False) for path in gone],
            commit_message=message,
        )
    return Pushed(url=str(url), score=score, video=VIDEO in files)


def _evaluated(run: Path) -> tuple[Config, dict[str, Any], Path]:
    """Return a run's settings, its evaluation and the evaluated checkpoint."""
    from jaxfactory.checkpoints.saved_run import load_for_evaluation

    config = runs.load_config(run)
    again = f"`jaxfactory evaluate --run {run} --render-mp4`"
    result = evaluation_file.read(run / EVALUATION, f"evaluate again with {again}")
    if result is None:
        raise UserError(
            f"the run {run} has no score yet; evaluate it first with {again}"
        )
    try:
        model_card.make_card("user/repo", config, result, optimizer=True, video=True)
    except KeyError as error:
        raise UserError(
            f"{run / EVALUATION} cannot be read: it lacks {error}; evaluate again with "
            f"{again}"
        ) from error
    saved = load_for_evaluation(run, result["checkpoint"])
    if saved.frames != result["frames_trained"]:
        raise UserError(
            f"the run {run} was evaluated after {result['frames_trained']:,} frames "
            f"and its {result['checkpoint']} checkpoint has {saved.frames:,} now; "
            f"evaluate again with {again}"
        )
    return config, result, saved.path


def _files(
    options: PushOptions, config: Config, result: dict[str, Any], checkpoint: Path
) -> dict[str, Path | bytes]:
    """Return the contents of the repository, by file name."""
    from jaxfactory.checkpoints import export

    run = options.run
    files: dict[str, Path | bytes] = {}
    name, scenario = _portable_scenario(config.env.scenario)
    files |= scenario
    config = _portable(config, name)
    settings = config_lib.to_dict(config)
    video = run / RUN_VIDEO
    # evaluate writes the video last, so an older one shows another agent.
    if _is_of(run, video) and _age(video) >= _age(run / EVALUATION):
        files[VIDEO] = video
    card = model_card.make_card(
        options.repo, config, result, optimizer=options.optimizer, video=VIDEO in files
    )
    files[CARD] = card.encode()
    files[runs.CONFIG] = _json(settings)
    files[EVALUATION] = _json({**result, "scenario": name})
    for kept in (runs.METRICS, runs.TRAINED_ON):
        if _is_of(run, run / kept):
            files[kept] = run / kept
    for event in sorted((run / runs.TENSORBOARD).glob("*tfevents*")):
        if not _is_of(run, event):
            continue
        # Event files are named after the machine.
        short = re.sub(r"^(.*tfevents\.\d+)\..*?(\.\d+)?$", r"\1\2", event.name)
        files[f"{runs.TENSORBOARD}/{short}"] = event
    files |= export.pack(
        checkpoint,
        best=checkpoint.parent.name == "best",
        optimizer=options.optimizer,
        settings=settings,
    )
    return files


def _is_of(run: Path, file: Path) -> bool:
    """Whether a file lies in a run and is not a link to a file elsewhere.

    The run directory may come from an untrusted source.
    """
    return file.is_file() and file.resolve().is_relative_to(run.resolve())


def without_accounts(config: Config) -> Config:
    """Return the settings without the user's accounts at other services."""
    watch = {
        field.name: field.default
        for field in dataclasses.fields(config.watch)
        if field.name.startswith("wandb")
    }
    return dataclasses.replace(config, watch=dataclasses.replace(config.watch, **watch))


def _portable(config: Config, scenario: str) -> Config:
    """Return the settings without this machine's paths and this user's accounts."""
    encoder = config.network.encoder.rpartition("/")[2]
    place = config.env.map and Path(config.env.map).name
    # Keep an init_from of the form user/repo; a directory is an absolute path.
    origin = config.init_from
    if origin is not None and origin.startswith("/"):
        origin = None
    return dataclasses.replace(
        without_accounts(config),
        env=dataclasses.replace(config.env, scenario=scenario, map=place),
        network=dataclasses.replace(config.network, encoder=encoder),
        init_from=origin,
    )


def _portable_scenario(scenario: str) -> tuple[str, dict[str, Path | bytes]]:
    """Return a scenario's name in the repository, and the files it needs."""
    from jaxfactory.scenarios import scenario_table
    from jaxfactory.scenarios.maps import wad_files

    if not scenario.endswith(".cfg"):
        return scenario.rpartition("/")[2], {}
    row = scenario_table.find(scenario)
    files: dict[str, Path | bytes] = {f"{SCENARIO}/{row.cfg.name}": row.cfg}
    wad = wad_files.find_wad(row.load())
    if wad_files.home(wad) == str(wad.parent):  # No installed package contains it.
        files[f"{SCENARIO}/{wad.name}"] = wad
    return f"{SCENARIO}/{row.cfg.name}", files


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=2) + "\n").encode()


def _age(path: Path) -> int:
    return path.stat().st_mtime_ns
