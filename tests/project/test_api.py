"""The package's own names: the examples of their docstrings, and an own network."""

import doctest
import json
import subprocess
import sys

import numpy as np
import pytest

import jaxfactory
from jaxfactory.config import runs


pytestmark = pytest.mark.vizdoom

OWN = """
import jax.numpy as jnp
from flax import nnx

class MeanColor(nnx.Module):
    def __init__(self, spec, config, rngs):
        self.layer = nnx.Linear(spec.image[2], config.hidden_size, rngs=rngs)
        self.num_features = config.hidden_size

    def __call__(self, obs):
        return nnx.relu(self.layer(obs["image"].mean((1, 2))))

class Other(MeanColor):
    pass

def note(iteration):
    print("frames", iteration.frames)
    return {"own/length": len(iteration.rollout.reward)}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where the examples' run is, and a file with a network."""
    folder = tmp_path_factory.mktemp("api")
    (folder / "own.py").write_text(OWN)
    return folder


@pytest.fixture(autouse=True)
def _in_folder(_own_folder, folder, monkeypatch):
    monkeypatch.chdir(folder)


def examples(name):
    thing = getattr(jaxfactory, name)
    names = {name: getattr(jaxfactory, name) for name in jaxfactory.__all__}
    tests = doctest.DocTestFinder().find(thing, name, globs={**names, "np": np})
    return [test for test in tests if test.examples]


# In this order: what the first trains, the others load.
WITH_EXAMPLES = ("train", "evaluate", "load", "Agent", "make_pool", "Config",
                 "EnvConfig", "NetworkConfig", "PPOConfig", "BonusConfig",
                 "Iteration")  # fmt: skip


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_the_example_in_its_docstring(name):
    tests = examples(name)
    assert tests, f"{name} has no example"
    for test in tests:
        said = []
        runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
        failures, _ = runner.run(test, out=said.append, clear_globs=False)
        assert not failures, "".join(said)


def test_a_network_of_ones_own_is_found_again(folder):
    config = jaxfactory.Config(
        env=jaxfactory.EnvConfig(scenario="basic", num_envs=2, width=32, height=24),
        network=jaxfactory.NetworkConfig(
            encoder="own.py:MeanColor", hidden_size=6, core="none"
        ),
        ppo=jaxfactory.PPOConfig(num_steps=4, num_minibatches=1, num_epochs=1),
        total_frames=64,
    )
    state = jaxfactory.train(config, "own")
    assert state.params["encoder"]["layer"]["kernel"].shape == (3, 6)
    stored = json.loads((folder / "own" / runs.CONFIG).read_text())
    assert stored["network"]["encoder"] == f"{folder / 'own.py'}:MeanColor"
    agent = jaxfactory.load("own", checkpoint="latest")
    assert agent.frames == 64
    obs = np.full((2, 24, 32, 3), 128, np.uint8)
    # Its normalizer and layers, by hand.
    image = state.normalizer.obs["image"]
    x = (obs / 255.0 - np.asarray(image.mean)) / np.sqrt(np.asarray(image.var) + 1e-5)
    x = np.clip(x, -5, 5).mean((1, 2))
    layers = [state.params["encoder"]["layer"], state.params["policy"]]
    (w, b), (v, c) = [[np.asarray(p[k]) for k in ("kernel", "bias")] for p in layers]
    expected = np.maximum(x @ w + b, 0) @ v + c
    np.testing.assert_allclose(agent.logits(obs), expected, rtol=1e-3, atol=1e-4)
    assert jaxfactory.evaluate("own", episodes=1, num_envs=1)["episodes"] == 1


def command(*args):
    return subprocess.run(
        [sys.executable, "-m", "jaxfactory", *args], capture_output=True, text=True
    )


def test_a_network_that_does_not_fit_leaves_nothing(folder):
    (folder / "wrong.py").write_text(
        OWN + "class Wrong(MeanColor):\n"
        "    def __call__(self, obs):\n"
        "        return obs['image'].mean((1, 2))\n"
        "class Raising(MeanColor):\n"
        "    def __call__(self, obs):\n"
        "        return obs['picture']\n"
    )
    wrong = command("train", "--run", "wrong", "--network", "wrong.py:Wrong")
    assert wrong.returncode == 2
    assert (
        "returned float32[2, 3] for 2 observations, but with num_features"
        in wrong.stderr
    )
    assert wrong.stderr.count("\n") == 1
    raising = command("train", "--run", "wrong", "--network", "wrong.py:Raising")
    assert raising.returncode == 2
    first, *trace = raising.stderr.splitlines()
    assert first.endswith("does not work: KeyError: 'picture'")
    assert "    return obs['picture']" in trace
    assert not any("encoders.py" in line for line in trace)
    assert not (folder / "wrong").exists()


def test_a_network_that_has_moved_is_a_sentence(folder):
    assert runs.load_config(folder / "own").network.encoder
    (folder / "own.py").rename(folder / "moved.py")
    gone = command("evaluate", "--run", "own", "--episodes", "1")
    assert gone.returncode == 2
    assert f"there is no file {folder / 'own.py'}" in gone.stderr
    assert "Traceback" not in gone.stderr
    moved = command(
        "evaluate",
        "--run",
        "own",
        "--episodes",
        "1",
        "--network",
        "moved.py:MeanColor",
    )
    assert moved.returncode == 0, moved.stderr
    wrong = command(
        "train", "--run", "own", "--network", "moved.py:Other", "--total-frames", "128"
    )
    assert wrong.returncode == 2
    now = f"cannot resume with --encoder {folder / 'moved.py'}:Other; leave that out"
    assert now in wrong.stderr
    on = command(
        "train", "--run", "own", "--network", "moved.py:MeanColor",
        "--total-frames", "128", "--callback", "moved.py:note",
    )  # fmt: skip
    assert on.returncode == 0, on.stderr
    assert "frames 96\n" in on.stdout
    lines = (folder / "own" / runs.METRICS).read_text().splitlines()
    assert json.loads(lines[-1])["own/length"] == 4.0
    stored = json.loads((folder / "own" / runs.CONFIG).read_text())
    assert stored["network"]["encoder"] == f"{folder / 'moved.py'}:MeanColor"


def test_a_callback_stops_and_one_that_fails_saves(folder):
    config = jaxfactory.Config(
        env=jaxfactory.EnvConfig(scenario="basic", num_envs=2, width=32, height=24),
        network=jaxfactory.NetworkConfig(
            encoder=f"{folder / 'moved.py'}:MeanColor", hidden_size=6, core="none"
        ),
        ppo=jaxfactory.PPOConfig(num_steps=4, num_minibatches=1, num_epochs=1),
        total_frames=32 * 10,
    )
    seen = []

    def stop(iteration):
        seen.append(iteration.metrics["losses/entropy"])
        if len(seen) == 2:
            iteration.stop("twice is enough")

    assert jaxfactory.train(config, "stopped", callbacks=[stop]).frames == 64
    assert all(0 < entropy < np.log(4) + 1e-3 for entropy in seen)

    def broken(iteration):
        raise RuntimeError("no more")

    with pytest.raises(jaxfactory.UserCodeError, match="broken raised RuntimeError"):
        jaxfactory.train(config, "stopped", callbacks=[broken])
    # What the failed iteration learned is saved.
    assert jaxfactory.load("stopped", checkpoint="latest").frames == 96
