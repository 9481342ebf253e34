"""The run that a new one starts from, and the settings that it adopts.

``--init-from`` names a run's directory or a repository on the Hugging Face Hub.
`transfer` copies the weights. This module imports JAX only to pull a repository.
"""

import dataclasses
import functools
import tempfile
from collections.abc import Sequence
from pathlib import Path

from jaxfactory._util.errors import UserError
from jaxfactory.config import families, runs
from jaxfactory.config.ppo import Schedule
from jaxfactory.config.train import Config


# Settings that determine the shapes and the content of observations.
_SEEN = ("frame_skip", "screen_width", "screen_height", "wide")
# Settings that determine the scale of the rewards, and so that of the values.
_REWARDS = ("reward_scale", "reward_clip")
# Settings that determine how the network's inputs and outputs are normalized.
_NORMALIZED = ("normalize_obs", "normalize_returns")


def is_remote(name: str) -> bool:
    """Whether a name is a repository and not a local directory."""
    try:
        return not Path(name).expanduser().is_dir()
    except (OSError, RuntimeError):  # The name is too long, or its ~user unknown.
        return True


def pinned(name: str) -> str:
    """Return a name that is valid from any working directory."""
    return name if is_remote(name) else str(Path(name).expanduser().resolve())


def find(name: str) -> Path:
    """Return the directory of the run that a name refers to.

    A repository is pulled once per process, into a temporary directory.

    Raises:
        UserError: If there is no such run, neither locally nor on the Hub.
    """
    if is_remote(name):
        return _pulled(name)
    run = Path(name).expanduser()
    if not runs.is_run(run) or _is_sample_factorys(run):
        hint = "train one with `jaxfactory train`"
        if _is_sample_factorys(run):
            hint = f"import it first: jaxfactory import-sample-factory {run}"
        raise UserError(f"--init-from {run} is not a jaxfactory run; {hint}")
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
            f"--init-from {repo} is not a directory, and pulling it from the Hugging "
            f"Face Hub failed: {error}"
        ) from error


def has_begun(run: Path | None) -> bool:
    """Whether a run has a checkpoint to resume from."""
    return run is not None and bool(runs.checkpoint_dirs(run, "latest"))


def recorded(config: Config, run: Path) -> Config:
    """Return the settings with `init_from` as the run records it.

    Raises:
        UserError: If the run has already started from something else.
    """
    name = config.init_from and pinned(config.init_from)
    if has_begun(run) and runs.is_run(run):
        begun = runs.load_config(run).init_from
        if name not in (None, begun):
            raise UserError(
                f"the run {run} has already been trained and cannot start from "
                f"{config.init_from}; leave out --init-from to resume it, or give "
                "--run a new directory"
            )
        name = begun
    return dataclasses.replace(config, init_from=name)


def scenario_of(name: str) -> str:
    """Return the scenario of the run that a name refers to.

    Raises:
        UserError: If there is no such run, or it is from a repository and its scenario
            is not installed.
    """
    from jaxfactory.envs import family

    scenario = runs.load_config(find(name)).env.scenario
    if is_remote(name) and not family.of(scenario).is_installed(scenario):
        raise UserError(
            f"the agent of {name} was trained on a custom scenario, "
            f"{Path(scenario).name}; select the one to train on with --scenario"
        )
    return scenario


def with_settings_of(name: str, config: Config, *, own_encoder: bool = False) -> Config:
    """Return settings with those that another run's weights require.

    These are the network's settings; the observation's, if both runs are on Doom or
    both on Gymnasium; and the reward's, if both are on the same scenario.

    Args:
        name: The other run's directory, or user/repo.
        config: The settings of the new run.
        own_encoder: Keep the encoder of `config`.

    Raises:
        UserError: If there is no such run, its encoder is custom code from a
            repository, or its built-in encoder differs from the one to keep.
    """
    source = runs.load_config(find(name))
    network, encoder = source.network, config.network.encoder
    if own_encoder:
        if ":" not in encoder + network.encoder and encoder != network.encoder:
            raise UserError(
                f"no weights of {name} fit another kind of encoder, {encoder} instead "
                f"of {network.encoder}; leave out --encoder or --init-from"
            )
        network = dataclasses.replace(network, encoder=encoder)
    elif is_remote(name) and ":" in network.encoder:
        raise UserError(
            f"the agent of {name} has a custom encoder, {network.encoder}, and code is "
            "never imported from a repository; select your own encoder with --encoder"
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
    """Whether two runs' discounted returns come from the same rewards."""
    fields = ("scenario", "frame_skip", *_REWARDS)
    same = all(getattr(one.env, f) == getattr(other.env, f) for f in fields)
    return same and _discount(one) == _discount(other)


def same_variables(one: Config, other: Config) -> bool:
    """Whether game variables mean the same, if the value functions see any."""
    sees = {one.network.critic_sees, other.network.critic_sees}
    return sees == {"none"} or one.env.scenario == other.env.scenario


def _discount(config: Config) -> tuple[float, Schedule | None]:
    return config.ppo.gamma, config.ppo.schedules.get("gamma")


def read_on_cpu(args: Sequence[str]) -> None:
    """Keep a sweep's parent off the GPU if it pulls an agent: its runs need the GPU."""
    names = [arg.partition("=")[2] for arg in args if arg.startswith("--init-from=")]
    if any(is_remote(name) for name in names):
        import jax

        jax.config.update("jax_platforms", "cpu")
