"""Worker of update.py: acting and updating in jaxfactory."""

import dataclasses
import sys

from jaxfactory._util import jax_setup


jax_setup.configure()

import jax  # noqa: E402 - the flags come first
import numpy as np  # noqa: E402
from common.random_rollout import random_rollout  # noqa: E402

from jaxfactory.config.presets import PRESETS  # noqa: E402
from jaxfactory.config.train import PPOConfig  # noqa: E402
from jaxfactory.models.actor_critic import ActorCritic  # noqa: E402
from jaxfactory.ppo.learner import init_train_state, make_update  # noqa: E402
from jaxfactory.ppo.losses import ppo_loss  # noqa: E402
from jaxfactory.rollout.policy import make_act  # noqa: E402
from jaxfactory.types import ActionSpec, Batch, EnvSpec, ObservationSpec  # noqa: E402
from updating.worker import ACTING, ACTIONS, ENVS, STEPS, images, serve  # noqa: E402


def main() -> None:
    """Set up and serve."""
    spec = EnvSpec(ObservationSpec(image=(72, 128, 3)), ActionSpec((ACTIONS,)))
    precision = "bfloat16" if sys.argv[1].endswith("bfloat16") else "float32"
    config = dataclasses.replace(PRESETS[sys.argv[2]].network, precision=precision)
    network = ActorCritic(spec, config)
    # One epoch of one minibatch, like the PyTorch worker.
    ppo = PPOConfig(num_minibatches=1, num_epochs=1, learning_rate=1e-4)
    state = init_train_state(network, ppo, jax.random.key(0))
    act, update = make_act(network), make_update(network, ppo)
    rollout = random_rollout(
        images(STEPS + 1, ENVS),
        network.initial_carry(ENVS),
        ACTIONS,
        np.random.default_rng(0),
    )
    batch = Batch(
        obs={"image": rollout.obs["image"][:STEPS]},
        is_first=rollout.is_first[:STEPS],
        action=rollout.action,
        log_prob=rollout.log_prob,
        value=rollout.value,
        weight=np.ones((STEPS, ENVS), np.float32),
        advantage=rollout.reward,
        target=rollout.reward,
        carry=rollout.carry,
    )
    key = jax.random.key(1)
    seen = {"image": images(ACTING)}
    carry = network.initial_carry(ACTING)
    first = np.zeros(ACTING, bool)
    params, normalizer = state.params, state.normalizer

    @jax.jit
    def differentiate(params, normalizer, batch):
        return jax.grad(ppo_loss, has_aux=True)(
            params, batch, network=network, normalizer=normalizer, config=ppo
        )[0]

    def forward() -> None:
        jax.block_until_ready(act(params, normalizer, seen, carry, first, key))

    def gradient() -> None:
        jax.block_until_ready(differentiate(params, normalizer, batch))

    def whole() -> None:
        nonlocal state
        state = jax.block_until_ready(update(state, rollout)[0])

    serve({"forward": forward, "gradient": gradient, "update": whole})


if __name__ == "__main__":
    main()
