"""Converts a Sample Factory 2 experiment into a run directory.

The run is evaluated and trained like any other. The same observations and hidden states
give the same logits and values as in Sample Factory.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
from tyro.conf import arg

from jaxfactory._util.errors import UserError, did_you_mean
from jaxfactory.config import runs
from jaxfactory.sample_factory import optimizer
from jaxfactory.sample_factory.checks import (
    check_heads,
    check_meanings,
    check_measurements,
    shown_env,
)
from jaxfactory.sample_factory.files import (
    Checkpoint,
    experiment_of,
    find_checkpoint,
    is_experiment,
    read_settings,
)
from jaxfactory.sample_factory.optimizer import MOST_UPDATES, Adam
from jaxfactory.sample_factory.settings import Settings, scenario_name, translate
from jaxfactory.sample_factory.slots import arranged, logit_order
from jaxfactory.sample_factory.weights import Layout, describe
from jaxfactory.scenarios import scenario_table
from jaxfactory.scenarios.action_heads import Head
from jaxfactory.scenarios.maps import map_record
from jaxfactory.spec import EnvSpec


__all__ = ("ImportOptions", "Imported", "convert", "is_experiment")


@dataclass(frozen=True, kw_only=True)
class ImportOptions:
    """Import an agent trained with Sample Factory into a run directory."""

    experiment: Annotated[Path, arg(metavar="experiment")]
    """The experiment's directory, or one of its .pth files."""
    scenario: str | None = None
    """The agent's scenario; by default the one it was trained on."""
    run: Path | None = None
    """The new run directory; by default one below runs/."""
    policy: int | None = None
    """Policy to import, if several; by default the one with the highest reward."""


class Imported(NamedTuple):
    """An imported agent.

    Attributes:
        run: The new run directory.
        file: The imported .pth file.
        scenario: The scenario's name in jaxfactory.
        frames: Frames that the agent was trained for.
        notes: Sentences about what was imported, and about differences that matter
            when training resumes.
    """

    run: Path
    file: Path
    scenario: str
    frames: int
    notes: list[str]


def convert(
    path: Path, scenario: str | None, run: Path | None, *, policy: int | None = None
) -> Imported:
    """Convert an experiment's checkpoint into a run.

    Args:
        path: The experiment's directory, or one .pth file in it. From a directory the
            best checkpoint is imported, or the last if there is no best one.
        scenario: The scenario; by default the one the agent was trained on.
        run: The new run directory; by default one below runs/.
        policy: The policy, if there are several; by default the one whose best
            checkpoint has the highest reward.

    Raises:
        UserError: If something cannot be read or has no counterpart in jaxfactory.
            Nothing is written in this case.
    """
    choice = find_checkpoint(path, policy)
    file = choice.file
    settings = read_settings(experiment_of(file), choice.policy)
    name = _scenario(settings, scenario)
    if run is not None and run.exists() and (not run.is_dir() or any(run.iterdir())):
        raise UserError(f"{run} is not empty; give --run a new directory")
    row = scenario_table.find(name)
    game = row.load()
    heads = scenario_table.action_heads(row, game)
    checkpoint = Checkpoint(file)
    model = checkpoint.model()
    check_heads(settings, model, heads, name)
    notes = [choice.note] if choice.note else []
    notes += check_meanings(settings, heads, name)
    layout = describe(settings, model, logit_order(heads))
    measured = len(row.measured(game))
    notes += check_measurements(settings, layout, measured, name)
    given, run = run, run or runs.new_run_dir(name)
    # If the scenario has no measurements, none are left out.
    sees_all = layout.observation.measurements == measured
    try:
        notes += _write_run(run, settings, checkpoint, layout, name, heads, sees_all)
        map_record.record_imported(run, scenario_name(settings))
    finally:
        if given is None:
            runs.remove_empty(run)
    return Imported(run, file, name, checkpoint.frames(settings), notes)


def _scenario(settings: Settings, scenario: str | None) -> str:
    """Return the user's scenario, or else the built-in one that the settings name.

    A path or a module in the settings is refused: an untrusted experiment could make
    jaxfactory read or import it.
    """
    if scenario:
        return scenario
    name = scenario_name(settings)
    if name is not None and name not in scenario_table.names():
        hint = did_you_mean(name, scenario_table.names())
        raise UserError(
            f"{settings.source}: its env {shown_env(settings)} is not one of the "
            f"built-in scenarios{hint}; name one with --scenario"
        )
    if name is None:
        raise UserError(
            f"{settings.source} does not name the agent's Doom scenario (its env is "
            f"{shown_env(settings)}); name it with --scenario"
        )
    return name


# The product of settings and statistics may overflow float32; `_like` checks that.
@np.errstate(over="ignore", invalid="ignore")
def _write_run(
    run: Path,
    settings: Settings,
    checkpoint: Checkpoint,
    layout: Layout,
    scenario: str,
    heads: tuple[Head, ...],
    sees_all: bool,
) -> list[str]:
    """Write the run's config.json and checkpoint; return the notes.

    ``sees_all`` is whether the network reads the scenario's measurements.
    """
    import jax

    from jaxfactory.checkpoints.manager import Checkpointer
    from jaxfactory.metrics.progress import Progress
    from jaxfactory.models.actor_critic import ActorCritic
    from jaxfactory.models.normalization import init_normalizer
    from jaxfactory.ppo.learner import TrainState
    from jaxfactory.ppo.optimizer import make_optimizer
    from jaxfactory.sample_factory.statistics import (
        fold,
        observation_moments,
        return_moments,
    )

    model = checkpoint.model()
    moments, folded = observation_moments(settings, model, layout.observation)
    returns = return_moments(settings, model)
    rate = checkpoint.number("curr_lr", settings.get("learning_rate", 1e-4))
    config, notes = translate(settings, layout.network, scenario, rate)
    env = dataclasses.replace(config.env, measurements=sees_all)
    config = dataclasses.replace(config, env=env)
    arrays = arranged(layout.slots, model)
    fold(arrays, folded)
    spec = EnvSpec(layout.observation, scenario_table.action_spec(heads))
    key = jax.random.key(config.seed)
    shapes = jax.eval_shape(ActorCritic(spec, config.network).init, key)
    params = _like(shapes, arrays)
    state = TrainState(
        params=params,
        opt_state=make_optimizer(config.ppo).init(params),
        normalizer=_normalizer(init_normalizer(spec.observation), moments, returns),
        step=jax.numpy.int32(checkpoint.number("train_step", 0.0, MOST_UPDATES)),
        frames=checkpoint.frames(settings),
        key=key,
    )
    adam = None
    if settings.get("optimizer", "adam") == "adam" and folded == type(folded)():
        adam = optimizer.read(checkpoint.values, model, layout)
    if adam is None:
        notes.append("Adam's moments were not imported: they start at zero")
    else:
        state = state._replace(opt_state=_with_moments(state.opt_state, adam))
    with Checkpointer(run, config) as checkpointer:
        # No time has been spent on this run yet.
        checkpointer.save(state, Progress(clock=lambda: 0.0))
    return notes


def _like(target: Any, values: Any) -> Any:
    """Return values as device arrays with the target's dtypes.

    Raises:
        UserError: If a shape differs, or a number is not finite in the target's dtype.
    """
    import jax
    import jax.numpy as jnp

    def one(leaf: Any, value: Any) -> Any:
        if leaf.shape != np.shape(value):
            raise UserError(
                f"an array of the checkpoint has the shape {np.shape(value)} where "
                f"the network needs {leaf.shape}"
            )
        cast = np.asarray(value).astype(leaf.dtype)
        if not np.isfinite(cast).all():
            raise UserError(
                "this agent cannot be imported: its weights or statistics, combined "
                "with its settings, overflow float32"
            )
        return jnp.array(cast)

    return jax.tree.map(one, target, values)


def _normalizer(fresh: Any, moments: dict[str, Any], returns: Any) -> Any:
    obs = {
        name: stats._replace(**_like(stats._asdict(), moments[name]._asdict()))
        for name, stats in fresh.obs.items()
    }
    normalizer = fresh._replace(obs=obs)
    if returns is None:
        return normalizer
    stats = fresh.returns
    stats = stats._replace(**_like(stats._asdict(), returns._asdict()))
    return normalizer._replace(returns=stats)


def _with_moments(opt_state: Any, adam: Adam) -> Any:
    import jax.numpy as jnp
    import optax

    get, put = optax.tree_utils.tree_get, optax.tree_utils.tree_set
    return put(
        opt_state,
        count=jnp.int32(adam.count),
        mu=_like(get(opt_state, "mu"), adam.first),
        nu=_like(get(opt_state, "nu"), adam.second),
    )
