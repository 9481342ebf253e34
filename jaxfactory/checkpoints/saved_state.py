"""A saved agent: from a checkpoint to the state that acts."""

from collections.abc import Mapping

import jax

from jaxfactory._util.errors import UserError
from jaxfactory.checkpoints import checkpoint_files
from jaxfactory.checkpoints.manager import SavedRun
from jaxfactory.models.actor_critic import ActorCritic
from jaxfactory.ppo.learner import TrainState, init_train_state


def load_state(saved: SavedRun, network: ActorCritic) -> TrainState:
    """Return a checkpoint's state.

    Args:
        saved: The checkpoint.
        network: The network that its settings describe.

    Raises:
        UserError: If it is damaged, or another network's.
    """
    check_network(saved, network)
    fresh = init_train_state(network, saved.config.ppo, jax.random.key(0))
    return saved.restore(fresh)


def check_network(saved: SavedRun, network: ActorCritic) -> None:
    """Compare the shapes of parameters with a checkpoint's, before any is made.

    The settings of a stranger's run can describe a network of any size.

    Raises:
        UserError: If they differ.
    """
    try:
        leaves = saved.leaves()
    except UserError:
        return  # It is damaged, which whoever restores it reports or goes around.
    different = first_difference(leaves, network)
    if different:
        raise UserError(
            f"the checkpoint {saved.path} does not fit these settings: {different}; "
            "give --run another directory"
        )


def first_difference(leaves: Mapping[str, str], network: ActorCritic) -> str:
    """Return in which parameter a network differs from a checkpoint, "" if in none.

    Args:
        leaves: The checkpoint's, as in ``{"params.policy.bias": "float32[5]"}``.
        network: The network; nothing of it is made.
    """
    abstract = {"params": jax.eval_shape(network.init, jax.random.key(0))}
    for name, shape in checkpoint_files.shapes_of(abstract).items():
        there = leaves.get(name, "missing")
        if there != shape:
            return f"{name} is {there} there and {shape} here"
    return ""
