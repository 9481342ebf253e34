"""A trained run to publish, and a local server that stands for the Hub."""

import functools
import json
import shutil
import time
from pathlib import Path
from typing import Any

import huggingface_hub
import huggingface_hub.utils
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hub_server import HubServer
from huggingface_hub import constants
from saved_states import make_progress
from tiny import NETWORK

from jaxfactory._util import jax_setup
from jaxfactory.checkpoints.manager import Checkpointer
from jaxfactory.cli import main
from jaxfactory.config import runs
from jaxfactory.config.train import Config
from jaxfactory.hub import pull as hub_pull
from jaxfactory.hub import push as hub
from jaxfactory.hub.pull import PullOptions
from jaxfactory.hub.push import PushOptions
from jaxfactory.models.actor_critic import ActorCritic
from jaxfactory.ppo.learner import TrainState, init_train_state
from jaxfactory.rollout.episode import Episode
from jaxfactory.spec import ActionSpec, EnvSpec, ObservationSpec


CONFIG = Config(network=NETWORK)
SPEC = EnvSpec(ObservationSpec((72, 128, 3)), ActionSpec((5,)))
FRAMES = 2**31 + 512
REPO = "ada/doom"


@functools.cache
def make_state(seed: int) -> TrainState:
    """Return a training state with random numbers everywhere but in the parameters."""
    network = ActorCritic(SPEC, CONFIG.network)
    state = init_train_state(network, CONFIG.ppo, jax.random.key(seed))
    rng = np.random.default_rng(seed)

    def shaken(leaf: Any) -> Any:
        noise = rng.normal(size=leaf.shape) * 9 + 1
        return jnp.asarray(noise, leaf.dtype)

    trees = (state.opt_state, state.normalizer, state.step)
    opt_state, normalizer, step = jax.tree.map(shaken, trees)
    return state._replace(
        opt_state=opt_state, normalizer=normalizer, step=step, frames=FRAMES
    )


def summary(mean: float, std: float) -> dict[str, float]:
    """Return the summary of a score as `evaluation.json` holds it."""
    return {"mean": mean, "std": std, "mean_minus_std": mean - std, "min": 2.4,
            "max": 21.0}  # fmt: skip


EVALUATION = {
    "scenario": "health_gathering_supreme", "frames_trained": FRAMES,
    "checkpoint": "best", "deterministic": False, "seed": 1000, "episodes": 100,
    "num_envs": 20, "date": "2026-01-02T03:04:05+00:00",
    "raw_return": summary(13.104, 5.696), "shaped_return": summary(32.4, 17.5),
    "length": summary(1310.0, 570.0), "truncated": 17, "each": [],
}  # fmt: skip


@pytest.fixture(scope="module")
def state() -> TrainState:
    """The state that the run `finished` has saved."""
    return make_state(1)


@pytest.fixture(scope="module")
def finished(state, tmp_path_factory) -> Path:
    """A trained and evaluated run, as files."""
    run = tmp_path_factory.mktemp("finished") / "run"
    progress = make_progress(seconds=12.5)
    progress.episodes.extend([Episode(30.0 + i, 10.0, 1000, False) for i in range(100)])
    with Checkpointer(run, CONFIG) as checkpointer:
        checkpointer.save(state, progress)
    (run / runs.METRICS).write_text('{"frames": 512}\n')
    events = run / runs.TENSORBOARD
    events.mkdir()
    (events / "events.out.tfevents.1234567890.my.secret-host.0").write_bytes(b"a")
    (events / "events.out.tfevents.1234567899.my.secret-host.512").write_bytes(b"b")
    (run / "evaluation.json").write_text(json.dumps(EVALUATION))
    (run / "evaluation.mp4").write_bytes(b"film" * 1000)
    return run


@pytest.fixture
def run(finished, tmp_path) -> Path:
    """A copy of `finished` that a test may change."""
    return Path(shutil.copytree(finished, tmp_path / "mine"))


@pytest.fixture
def server(monkeypatch, tmp_path):
    """The Hub, and a user who is logged in to it."""
    monkeypatch.chdir(tmp_path)
    home = tmp_path / "hf"
    with HubServer() as hub_server:
        template = hub_server.endpoint + "/{repo_id}/resolve/{revision}/{filename}"
        for name, value in {
            "ENDPOINT": hub_server.endpoint,
            "HUGGINGFACE_CO_URL_TEMPLATE": template,
            "HF_HOME": str(home),
            "HF_HUB_CACHE": str(home / "hub"),
            "HF_TOKEN_PATH": str(home / "token"),
            "HF_STORED_TOKENS_PATH": str(home / "stored_tokens"),
            "HF_HUB_DISABLE_XET": True,
            "HF_HUB_DISABLE_TELEMETRY": True,
            "HF_HUB_OFFLINE": False,
        }.items():
            monkeypatch.setattr(constants, name, value)
        monkeypatch.setenv("HF_TOKEN", "hf_write")
        # It sets flags for a JAX that has long been started here.
        monkeypatch.setattr(jax_setup, "configure", lambda: None)
        # The client waits up to 8 seconds between its attempts.
        monkeypatch.setattr(time, "sleep", lambda seconds: None)
        huggingface_hub.utils.disable_progress_bars()
        yield hub_server
        huggingface_hub.utils.enable_progress_bars()


def refused(capsys, *args) -> str:
    """Run a command that must fail; return its error message, one line."""
    assert main.main([str(arg) for arg in args]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("jaxfactory: ")
    assert captured.err.count("\n") == 1, captured.err
    return captured.err


def push(run: Path, repo: str = REPO, **options: Any) -> hub.Pushed:
    """Publish a run, without the command line."""
    return hub.push(PushOptions(run=run, repo=repo, **options))


def pull(repo: str = REPO, **options: Any) -> Path:
    """Download an agent; return the run directory."""
    return hub_pull.pull(PullOptions(repo=repo, **options)).run


def files_under(folder: Path) -> set[str]:
    """Return the paths of all files in a folder, relative to it."""
    paths = folder.rglob("*")
    return {str(p.relative_to(folder)) for p in paths if p.is_file()}
