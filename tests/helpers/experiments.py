"""Experiments of Sample Factory's, as they are and changed."""

import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
from places import EXPERIMENTS
from torch_writer import tensor, write

from jaxfactory.checkpoints.saved_run import load_for_evaluation
from jaxfactory.envs.pool import env_spec
from jaxfactory.models import normalization
from jaxfactory.models.actor_critic import ActorCritic
from jaxfactory.ppo.learner import TrainState
from jaxfactory.ppo.optimizer import make_optimizer
from jaxfactory.sample_factory import convert, torch_file
from jaxfactory.sample_factory.files import find_checkpoint


CONFIGS = ("config.json", "cfg.json")


def imported(name, folder, source=None):
    """Import an experiment; return the run, its config, network and state."""
    found = convert.convert(source or EXPERIMENTS / name, None, folder / "run")
    saved = load_for_evaluation(found.run)
    spec = env_spec(saved.config.env)
    network = ActorCritic(spec, saved.config.network)
    key = jax.random.key(1)
    shapes = jax.eval_shape(network.init, key)
    params = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), shapes)
    fresh = TrainState(
        params=params,
        opt_state=make_optimizer(saved.config.ppo).init(params),
        normalizer=normalization.init_normalizer(spec.observation),
        step=jnp.int32(0),
        frames=0,
        key=key,
    )
    return found, saved.config, network, saved.restore(fresh)


def copy(name, tmp_path, **changes):
    """Copy an experiment, with other settings."""
    folder = tmp_path / "experiment"
    shutil.copytree(EXPERIMENTS / name, folder)
    (config,) = (path for path in folder.iterdir() if path.name in CONFIGS)
    settings = json.loads(config.read_text())
    config.write_text(json.dumps({**settings, **changes}))
    return folder


def rewrite(folder, change):
    """Write an experiment's checkpoint again, with another model."""
    file = find_checkpoint(folder).file
    model = dict(torch_file.load(file)["model"])
    change(model)
    kinds = {"float32": "FloatStorage", "float64": "DoubleStorage"}
    value = {
        name: tensor(np.array(array), kinds[str(array.dtype)], str(index))
        for index, (name, array) in enumerate(model.items())
    }
    write(file, {"model": value, "env_steps": 400, "train_step": 3})
