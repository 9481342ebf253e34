"""Runs written by hand, and what a run that starts from one of them takes over."""

import dataclasses
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from tiny import NETWORK

from jaxfactory.checkpoints import checkpoint_files
from jaxfactory.checkpoints.manager import Checkpointer
from jaxfactory.checkpoints.saved_run import load_for_evaluation
from jaxfactory.cli import main
from jaxfactory.config.train import Config, EnvConfig
from jaxfactory.envs.pool import env_spec
from jaxfactory.metrics.progress import Progress
from jaxfactory.models.actor_critic import ActorCritic
from jaxfactory.ppo.learner import TrainState
from jaxfactory.ppo.optimizer import make_optimizer
from jaxfactory.training import init_from, transfer
from jaxfactory.training import options as train_options


SMALL = dataclasses.replace(NETWORK, measurements_sizes=(8,))


def config_of(scenario: str, **network) -> Config:
    return Config(
        env=EnvConfig(scenario=scenario, num_envs=8),
        network=dataclasses.replace(SMALL, **network),
        seed=1,
    )


def fresh(config: Config) -> tuple[ActorCritic, TrainState]:
    """A network and a state of its; random, without compiling the initialization."""
    network = ActorCritic(env_spec(config.env), config.network)
    rng = np.random.default_rng(config.seed)
    key = jax.random.key(config.seed)
    params = jax.tree.map(
        lambda leaf: jnp.array(rng.normal(size=leaf.shape), leaf.dtype),
        jax.eval_shape(lambda: network.init(jax.random.key(0))),
    )
    return network, TrainState(
        params=params,
        opt_state=make_optimizer(config.ppo).init(params),
        normalizer=network.init_normalizer(),
        step=jnp.int32(0),
        frames=0,
        key=key,
    )


def arrays_of(state: TrainState) -> dict[str, np.ndarray]:
    return checkpoint_files.named_arrays(state)


def trained(path: Path, config: Config, frames: int = 4096) -> dict[str, np.ndarray]:
    """Write a run whose state is nothing like a fresh one; return its leaves."""
    _, state = fresh(dataclasses.replace(config, seed=7))
    rng = np.random.default_rng(0)
    arrays = {
        name: rng.uniform(1, 2, array.shape).astype(array.dtype)
        for name, array in arrays_of(state).items()
        if name.startswith(("params", "opt_state", "normalizer"))
    }
    state = checkpoint_files.with_arrays(state, arrays)._replace(frames=frames)
    with Checkpointer(path, config) as checkpointer:
        checkpointer.save(state, Progress())
    return arrays_of(state)


def begun(source: str | Path, config: Config) -> tuple[set[str], str]:
    """Begin a run; return the names of the leaves that are the source's, and the line.

    All others are those of a run that begins from nothing.
    """
    config = dataclasses.replace(config, init_from=str(source))
    network, before = fresh(config)
    start = transfer.prepare(config, Path("new"), network)
    after = arrays_of(transfer.begin(before, start))
    found = load_for_evaluation(init_from.find(str(source)), "best").path
    theirs = checkpoint_files.read_arrays(found)[1]
    taken = set()
    for name, array in arrays_of(before).items():
        if name in start.arrays:
            np.testing.assert_array_equal(after[name], theirs[name])
            taken.add(name)
        else:
            np.testing.assert_array_equal(after[name], array)
        assert after[name].dtype == array.dtype
    return taken, start.report


def roots(names: set[str]) -> set[str]:
    """Where the leaves are: encoder.conv, core, ..., obs.image, returns."""
    found = set()
    for name in names:
        section, *parts = name.split(".")
        at = 2 if parts[0] in ("encoder", "obs") else 1
        assert section in ("params", "normalizer")
        found.add(re.sub(r"_\d$", "", ".".join(parts[:at])))
    return found


def parsed(*args: str) -> Config:
    return train_options.as_config(train_options.parse_train([*args]))


def refused(capsys, *args: str) -> str:
    assert main.main(["train", *args]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1, captured.err
    return captured.err
