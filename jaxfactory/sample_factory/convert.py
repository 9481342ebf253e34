"""Runs from the checkpoints of Sample Factory 2.

An experiment of its is a directory with a config.json (once cfg.json) and a folder
checkpoint_p0 of .pth files. `convert` makes a run directory of one, which is
evaluated and trained like any other: the same observations and hidden states give the
same logits and values.
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
    """Make a run of an agent that Sample Factory trained."""

    experiment: Annotated[Path, arg(metavar="experiment")]
    """The experiment's directory, or one of its .pth files."""
    scenario: str | None = None
    """What the agent plays; without it, what it was trained on."""
    run: Path | None = None
    """The run's directory, a new one; without it, one under runs/."""
    policy: int | None = None
    """Which policy of several; without it, the one with the highest reward."""


class Imported(NamedTuple):
    """What was imported.

    Attributes:
        run: The new run's directory.
        file: The checkpoint that was read.
        scenario: Our name of its scenario.
        frames: Frames that it was trained for.
        notes: Sentences about what was taken, and about what goes on differently when
            it is trained further.
    """

    run: Path
    file: Path
    scenario: str
    frames: int
    notes: list[str]


def convert(
    path: Path, scenario: str | None, run: Path | None, *, policy: int | None = None
) -> Imported:
    """Make a run of an experiment's checkpoint.

    Args:
        path: The experiment's directory, whose best checkpoint is taken or else its
            last, or one .pth file in it.
        scenario: What it plays here; by default what it played there.
        run: The new run's directory; by default one under runs/.
        policy: Which policy of several; by default the one whose best checkpoint has
            the highest reward.

    Raises:
        UserError: If something cannot be read or has no counterpart here. Nothing is
            written then.
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
    run = run or runs.new_run_dir(name)
    # Where the scenario has none, there is nothing to leave out.
    sees_all = layout.observation.measurements == measured
    notes += _write_run(run, settings, checkpoint, layout, name, heads, sees_all)
    map_record.record_imported(run, scenario_name(settings))
    return Imported(run, file, name, checkpoint.frames(settings), notes)


def _scenario(settings: Settings, scenario: str | None) -> str:
    """Return what the user names, or else a built-in scenario that the settings name.

    A path or a module in the settings of a stranger's experiment would be read or
    imported.
    """
    if scenario:
        return scenario
    name = scenario_name(settings)
    if name is not None and name not in scenario_table.names():
        hint = did_you_mean(name, scenario_table.names())
        raise UserError(
            f"{settings.source}: its env {shown_env(settings)} is none of "
            f"the built-in scenarios{hint}; name one with --scenario"
        )
    if name is None:
        raise UserError(
            f"{settings.source} does not say which Doom scenario the agent plays (its "
            f"env is {shown_env(settings)}); name it with --scenario"
        )
    return name


# Settings and statistics can be too large for float32 together; `_like` sees that.
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

    ``sees_all`` says whether it reads what measurements the scenario has.
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
        notes.append("Adam's moments were not imported: they begin at zero")
    else:
        state = state._replace(opt_state=_with_moments(state.opt_state, adam))
    with Checkpointer(run, config) as checkpointer:
        checkpointer.save(state, Progress())
    return notes


def _like(target: Any, values: Any) -> Any:
    """Return values as device arrays of the target's types.

    Raises:
        UserError: If a shape is another, or a number is not finite there.
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
                "this agent cannot be imported, because its weights or statistics "
                "with its settings are larger than float32 holds"
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
