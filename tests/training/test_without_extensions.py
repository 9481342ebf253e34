"""Models and training where C++ modules are not built, in processes of their own."""

import subprocess
import sys

import pytest


BLOCK = """
import sys

for name in {blocked!r}:
    sys.modules["jaxfactory." + name] = None
"""
NETWORK = """
import jax
import jax.numpy as jnp

from jaxfactory.config.network import NetworkConfig
from jaxfactory.models import convolution
from jaxfactory.models.actor_critic import ActorCritic
from jaxfactory.spec import ActionSpec, EnvSpec, ObservationSpec

spec = EnvSpec(ObservationSpec((72, 128, 3), 0), ActionSpec((3,)))
network = ActorCritic(spec, NetworkConfig())
params = jax.jit(network.init)(jax.random.key(0))
image = jax.random.normal(jax.random.key(1), (2, 72, 128, 3))
first, carry = jnp.zeros(2, bool), network.initial_carry(2)


def loss(params, image):
    logits, value, _ = network.apply(params, {"image": image}, carry, first)
    return (jax.nn.log_softmax(logits)[:, 0] + value).sum()


value, gradients = jax.jit(jax.value_and_grad(loss))(params, image)
total = sum(float(abs(leaf).sum()) for leaf in jax.tree.leaves(gradients))
print(len(convolution._targets()), float(value), total)
"""


TRAINING = """
from jaxfactory.cli import main

sys.exit(main.main([
    "train", "--preset", "gymnasium", "--scenario", "gymnasium:CartPole-v1",
    "--num-envs", "8", "--num-steps", "16", "--total-frames", "512",
    "--run", {out!r},
]))
"""
DOOM = """
from jaxfactory.cli import main

sys.exit(main.main(["train", "--scenario", "basic", "--run", {out!r}]))
"""


def run(code, *blocked):
    return subprocess.run(
        [sys.executable, "-c", BLOCK.format(blocked=blocked) + code],
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip


def evaluate(*blocked):
    done = run(NETWORK, *blocked)
    assert done.returncode == 0, done.stderr
    targets, value, total = done.stdout.split()
    return int(targets), float(value), float(total)


def test_a_network_without_the_doom_extension_and_without_the_kernels():
    targets, value, total = evaluate("_core")
    without, plain_value, plain_total = evaluate("_core", "_kernels")
    assert without == 0
    assert value == pytest.approx(plain_value, rel=1e-4)
    assert total == pytest.approx(plain_total, rel=1e-3)
    if sys.platform == "linux":
        from jaxfactory import _kernels

        assert targets == len(_kernels.xla_convolutions())


def test_training_on_gymnasium_without_the_doom_extension(tmp_path):
    out = tmp_path / "run"
    done = run(TRAINING.format(out=str(out)), "_core", "_kernels")
    assert done.returncode == 0, done.stderr
    assert list((out / "checkpoints").iterdir())


def test_doom_without_its_extension_gives_an_error_message(tmp_path):
    done = run(DOOM.format(out=str(tmp_path / "run")), "_core")
    assert done.returncode == 2, done.stderr
    assert "cannot start Doom: the extension jaxfactory._core" in done.stderr
    assert "Traceback" not in done.stderr
