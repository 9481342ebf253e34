"""A saved agent: from a checkpoint to the state that acts."""

import jax

from jaxfactory import checkpoint_files
from jaxfactory.checkpoint import SavedRun
from jaxfactory.errors import UserError
from jaxfactory.learner import TrainState, init_train_state
from jaxfactory.networks import ActorCritic


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
    abstract = {"params": jax.eval_shape(network.init, jax.random.key(0))}
    wanted = checkpoint_files.shapes_of(abstract)
    leaves = saved.leaves()
    for name, shape in wanted.items():
        if leaves.get(name) != shape:
            raise UserError(
                f"the checkpoint {saved.path} does not fit these settings: {name} is "
                f"{leaves.get(name, 'missing')} there and {shape} here; give --run "
                "another directory"
            )
