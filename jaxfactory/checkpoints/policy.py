"""The trained policy in a checkpoint: `load_policy`."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax

from jaxfactory._util.errors import UserError
from jaxfactory.checkpoints import checkpoint_files
from jaxfactory.checkpoints.saved_run import SavedRun
from jaxfactory.config.train import Config
from jaxfactory.models.actor_critic import ActorCritic
from jaxfactory.models.normalization import Normalizer
from jaxfactory.rollout.policy import Act, make_act, make_value
from jaxfactory.types import EnvSpec, Params


class TrainedPolicy(NamedTuple):
    """A policy to act with.

    Attributes:
        network: The actor-critic.
        params: Its parameters.
        normalizer: Statistics of observations and returns.
        config: The settings it was trained with.
        frames: Frames it was trained for.
    """

    network: ActorCritic
    params: Params
    normalizer: Normalizer
    config: Config
    frames: int

    @property
    def spec(self) -> EnvSpec:
        """Shapes of its observations and actions."""
        return self.network.spec

    def make_act(self, *, deterministic: bool = False) -> Act:
        """Return the jitted policy; see `rollout.policy.make_act`."""
        return make_act(self.network, deterministic=deterministic)

    def make_value(self) -> Act:
        """Return the jitted value function; see `rollout.policy.make_value`."""
        return make_value(self.network)


class _Fields(NamedTuple):
    """What acting needs of a training state."""

    params: Any
    normalizer: Any


def load_policy(saved: SavedRun, network: ActorCritic) -> TrainedPolicy:
    """Read a checkpoint's policy, without the optimizer state.

    Args:
        saved: The checkpoint.
        network: The network that its settings describe.

    Raises:
        UserError: If the checkpoint is damaged or of another network.
    """
    # Shapes first: a damaged run's settings can describe a network of any size.
    check_network(saved, network)
    target = _Fields(
        params=jax.eval_shape(network.init, jax.random.key(0)),
        normalizer=jax.eval_shape(network.init_normalizer),
    )
    params, normalizer = saved.restore(target)
    return TrainedPolicy(network, params, normalizer, saved.config, saved.frames)


def with_variables_of(saved: SavedRun, spec: EnvSpec) -> EnvSpec:
    """Return a spec with as many game variables as the checkpoint's critic sees.

    Acting does not need them, so an agent may act where there are others or none.
    """
    if saved.config.network.critic_sees == "none":
        return spec
    return spec._replace(variables=variables_in(saved.leaves()))


def variables_in(leaves: Mapping[str, str]) -> int:
    """Return the number of game variables of a checkpoint's normalizer."""
    stored = leaves.get("normalizer.obs.variables.mean", "[0]")
    number = stored.partition("[")[2].rstrip("]")
    return int(number) if number.isdigit() else 0


def check_network(saved: SavedRun, network: ActorCritic) -> None:
    """Compare the shapes of a network's parameters with a checkpoint's.

    No parameters are created: untrusted settings can describe a network of any size.

    Raises:
        UserError: If they differ.
    """
    try:
        leaves = saved.leaves()
    except UserError:
        return  # It is damaged: the caller that restores it reports or handles that.
    expected = parameter_shapes(network)
    there = checkpoint_files.fields_of(leaves, expected)
    checkpoint_files.check_shapes(saved.path, there, expected)


def parameter_shapes(network: ActorCritic) -> dict[str, str]:
    """Return shape and type of a network's parameters by path, without creating them.

    As in ``{"params.policy.bias": "float32[5]"}``.
    """
    abstract = {"params": jax.eval_shape(network.init, jax.random.key(0))}
    return checkpoint_files.shapes_of(abstract)
