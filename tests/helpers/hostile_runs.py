"""A small run as a stranger might hand it over, and what refuses it."""

import functools
import json
import shutil
import tempfile
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxfactory._util.errors import UserError
from jaxfactory.checkpoints import export
from jaxfactory.checkpoints.manager import Checkpointer
from jaxfactory.config import runs
from jaxfactory.config.train import Config, EnvConfig, NetworkConfig
from jaxfactory.envs.pool import env_spec
from jaxfactory.metrics.progress import Progress
from jaxfactory.models.actor_critic import ActorCritic
from jaxfactory.ppo.learner import init_train_state


CONFIG = Config(
    env=EnvConfig(scenario="gymnasium:CartPole-v1", num_envs=4, frame_skip=1),
    network=NetworkConfig(core="none", measurements_sizes=(32, 32)),
    total_frames=1000,
)
FRAMES = 512
SUMMARY = {"mean": 1.5, "std": 0.5, "mean_minus_std": 1.0, "min": 1.0, "max": 2.0}
EVALUATION = {
    "scenario": "gymnasium:CartPole-v1", "frames_trained": FRAMES,
    "checkpoint": "latest", "deterministic": False, "seed": 1000, "episodes": 2,
    "num_envs": 2, "date": "2026-01-02T03:04:05+00:00", "raw_return": SUMMARY,
    "shaped_return": SUMMARY, "length": SUMMARY, "truncated": 0,
    "each": [{"shaped_return": v, "raw_return": v, "length": 7, "truncated": False,
              "frags": 0, "place": 0} for v in (1.0, 2.0)],
}  # fmt: skip
METRICS = {
    "frames": 256, "losses/policy_loss": 0.5, "episode/raw_return": 3.0,
    "episode/shaped_return": 3.0, "time/wall_clock": 2.5, "time/act": 0.5, "other": 1.0,
}  # fmt: skip


def sentence(call, *arguments):
    """Return what a call that must be refused says, in one line."""
    with pytest.raises(UserError) as caught:
        call(*arguments)
    text = str(caught.value)
    assert "\n" not in text
    assert len(text) < 1000
    return text


@functools.cache
def _whole_run():
    folder = Path(tempfile.mkdtemp(prefix="jaxfactory-test-")) / "run"
    network = ActorCritic(env_spec(CONFIG.env), CONFIG.network)
    state = init_train_state(network, CONFIG.ppo, jax.random.key(0))
    progress = Progress()
    with Checkpointer(folder, CONFIG) as checkpointer:
        checkpointer.save(state._replace(frames=FRAMES), progress)
    return folder


def make_run(path):
    """Copy a run with a checkpoint, yet without metrics and evaluation."""
    return Path(shutil.copytree(_whole_run(), path))


def checkpoint(run):
    """Return the directory of a run's checkpoint."""
    return runs.checkpoint_dirs(run, "latest")[-1]


@functools.cache
def packed_files():
    """Return the files of a published checkpoint."""
    return export.pack(
        checkpoint(_whole_run()), best=False, optimizer=True, settings={}
    )


def pack(folder, **changes):
    """Write a published checkpoint; a file of None is left out."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in {**packed_files(), **changes}.items():
        if content is not None:
            (folder / name).write_bytes(content)
    return folder


def arrays(run):
    """Return what the checkpoint of a run holds, as it was written."""
    from jaxfactory.checkpoints import checkpoint_files

    host, found = checkpoint_files.read_arrays(checkpoint(run))
    return host, {name: np.array(array) for name, array in found.items()}


def shown_run(path, metrics=(METRICS,), **changes):
    """Make a run with metrics and an evaluation."""
    run = make_run(path)
    lines = (row if isinstance(row, str) else json.dumps(row) for row in metrics)
    (run / "metrics.jsonl").write_text("".join(f"{line}\n" for line in lines))
    (run / "evaluation.json").write_text(json.dumps({**EVALUATION, **changes}))
    return run


def host_with(**changes):
    """Return the description of a published checkpoint, with changes."""
    host = json.loads(packed_files()[export.HOST])
    return {**host, **changes}
