"""Which run a new one starts from, and which of that run's settings it adopts.

``--init-from`` names a run's directory or a repository on the Hugging Face Hub.
`transfer` takes over the weights. Imports no JAX, unless a repository is pulled.
"""

import dataclasses
import functools
import tempfile
from collections.abc import Sequence
from pathlib import Path

from jaxfactory._util.errors import UserError
from jaxfactory.config import families, runs
from jaxfactory.config.train import Config


# How the agent sees: what decides the shapes of observations, and how they are made.
_SEEN = ("frame_skip", "screen_width", "screen_height", "wide")
# What the value function predicts, where the rewards are the same ones.
_REWARDS = ("reward_scale", "reward_clip")
# What the network's inputs and outputs are normalised with.
_NORMALIZED = ("normalize_obs", "normalize_returns")


def is_remote(name: str) -> bool:
    """Whether a name is a repository's and not a directory's here."""
    try:
        return not Path(name).expanduser().is_dir()
    except (OSError, RuntimeError):  # Too long a name, or ~ of nobody.
        return True


def pinned(name: str) -> str:
    """Return a name that means the same in another directory."""
    return name if is_remote(name) else str(Path(name).expanduser().resolve())


def find(name: str) -> Path:
    """Return the directory of the run that a name stands for.

    A repository is pulled once in the life of this process, into a temporary directory.

    Raises:
        UserError: If there is no such run, neither here nor on the Hub.
    """
    if is_remote(name):
        return _pulled(name)
    run = Path(name).expanduser()
    if not runs.is_run(run) or _is_sample_factorys(run):
        hint = "train one with `jaxfactory train`"
        if _is_sample_factorys(run):
            hint = f"import it first: jaxfactory import-sample-factory {run}"
        raise UserError(f"--init-from {run} is no run of jaxfactory; {hint}")
    return run


def _is_sample_factorys(folder: Path) -> bool:
    from jaxfactory.sample_factory import files

    return files.is_experiment(folder)


@functools.cache
def _scratch() -> tempfile.TemporaryDirectory:
    return tempfile.TemporaryDirectory(prefix="jaxfactory-")


@functools.cache
def _pulled(repo: str) -> Path:
    from jaxfactory.hub import pull

    if repo.count("/") != 1 or repo.startswith(("/", ".", "~", f"{runs.ROOT}/")):
        raise UserError(
            f"--init-from {repo}: there is no such directory; give a run's directory, "
            "or user/repo on the Hugging Face Hub"
        )
    run = Path(_scratch().name) / repo.replace("/", "--")
    try:
        options = pull.PullOptions(repo=repo, run=run)
        return pull.pull(options, weights_only=True).run
    except UserError as error:
        raise UserError(
            f"--init-from {repo}: there is no directory of that name, and on the "
            f"Hugging Face Hub: {error}"
        ) from error


def has_begun(run: Path | None) -> bool:
    """Whether a run has a checkpoint to resume from."""
    return run is not None and bool(runs.checkpoint_dirs(run, "latest"))


def recorded(config: Config, run: Path) -> Config:
    """Return the settings with the run to start from, as it is recorded.

    Raises:
        UserError: If the run has begun already, from something else.
    """
    name = config.init_from and pinned(config.init_from)
    if has_begun(run) and runs.is_run(run):
        begun = runs.load_config(run).init_from
        if name not in (None, begun):
            raise UserError(
                f"the run {run} has been trained already and cannot begin from "
                f"{config.init_from}; leave --init-from out to go on with it, or give "
                "--run a new directory"
            )
        name = begun
    return dataclasses.replace(config, init_from=name)


def scenario_of(name: str) -> str:
    """Return the scenario of the run that a name stands for.

    Raises:
        UserError: If there is no such run, or its scenario came from a repository and
            is none that this installation has.
    """
    from jaxfactory.envs import family

    scenario = runs.load_config(find(name)).env.scenario
    if is_remote(name) and not family.of(scenario).is_installed(scenario):
        raise UserError(
            f"the agent of {name} was trained on a scenario of its own, "
            f"{Path(scenario).name}; name the one to train on with --scenario"
        )
    return scenario


def with_settings_of(name: str, config: Config, *, own_encoder: bool = False) -> Config:
    """Return settings with those of another run that its weights need.

    These are the network's; those of the observation, if both are Doom or both are
    Gymnasium's; and on the same scenario those of the reward.

    Args:
        name: The other run's directory, or user/repo.
        config: The settings of the new run.
        own_encoder: The encoder of `config` is to stay.

    Raises:
        UserError: If there is no such run, its network is made by code that came from a
            repository, or its encoder is another of ours than `config` is to keep.
    """
    source = runs.load_config(find(name))
    network, encoder = source.network, config.network.encoder
    if own_encoder:
        if ":" not in encoder + network.encoder and encoder != network.encoder:
            raise UserError(
                f"nothing of {name} fits an encoder of another kind, {encoder} instead "
                f"of {network.encoder}; leave --encoder or --init-from out"
            )
        network = dataclasses.replace(network, encoder=encoder)
    elif is_remote(name) and ":" in network.encoder:
        raise UserError(
            f"the agent of {name} reads observations by code of its own, "
            f"{network.encoder}, which is not imported from a repository; name yours "
            "with --encoder"
        )
    here, there = config.env, source.env
    taken: tuple[str, ...] = ()
    if families.of(here.scenario) is families.of(there.scenario):
        taken += (*runs.FIXED_ENV, *_SEEN)
    if here.scenario == there.scenario:
        taken += _REWARDS
    env = {field: getattr(there, field) for field in taken if field != "scenario"}
    ppo = {field: getattr(source.ppo, field) for field in _NORMALIZED}
    return dataclasses.replace(
        config,
        network=network,
        env=dataclasses.replace(here, **env),
        ppo=dataclasses.replace(config.ppo, **ppo),
    )


def same_rewards(one: Config, other: Config) -> bool:
    """Whether two runs' discounted returns are of the same rewards."""
    fields = ("scenario", "frame_skip", *_REWARDS)
    same = all(getattr(one.env, f) == getattr(other.env, f) for f in fields)
    return same and one.ppo.gamma == other.ppo.gamma


def read_on_cpu(args: Sequence[str]) -> None:
    """Leave the GPU alone where a sweep's parent pulls an agent: its runs need it."""
    names = [arg.partition("=")[2] for arg in args if arg.startswith("--init-from=")]
    if any(is_remote(name) for name in names):
        import jax

        jax.config.update("jax_platforms", "cpu")
