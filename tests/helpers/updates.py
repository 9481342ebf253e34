"""A small network, rollouts of random numbers, and the states that train on them."""

import jax
import numpy as np

from jaxfactory.config.train import NetworkConfig, PPOConfig
from jaxfactory.models.actor_critic import ActorCritic
from jaxfactory.ppo.learner import init_train_state
from jaxfactory.rollout.policy import make_act, make_value
from jaxfactory.types import ActionSpec, EnvSpec, ObservationSpec, Rollout


T, B = 4, 6
SPEC = EnvSpec(ObservationSpec((8, 8, 1), 2), ActionSpec((3, 2)))
NETWORK = ActorCritic(
    SPEC,
    NetworkConfig(
        conv_channels=(4,),
        conv_kernels=(4,),
        conv_strides=(2,),
        hidden_size=8,
        core_size=8,
        measurements_sizes=(4,),
    ),
)
PPO = PPOConfig(num_steps=T, num_minibatches=1, num_epochs=1, gamma=0.99)


def make_rollout(seed=0):
    rng = np.random.default_rng(seed)
    ends = rng.integers(0, 5, (T, B))
    normal = rng.normal(size=(4, T, B)).astype(np.float32)
    return Rollout(
        obs={
            "image": rng.integers(0, 256, (T + 1, B, 8, 8, 1), np.uint8),
            "measurements": rng.normal(size=(T + 1, B, 2)).astype(np.float32),
        },
        is_first=np.concatenate([np.ones((1, B), bool), ends < 2]),
        action=rng.integers(0, 2, (T, B, 2)).astype(np.int32),
        log_prob=normal[0] * 0.1 - 1.8,
        value=normal[1],
        reward=normal[2],
        terminated=ends == 0,
        truncated=ends == 1,
        final_value=normal[3],
        bootstrap_value=rng.normal(size=B).astype(np.float32),
        carry=NETWORK.initial_carry(B),
        policy_version=np.zeros((T, B), np.float32),
    )


def make_state(config=PPO):
    return init_train_state(NETWORK, config, jax.random.key(0))


def play(state, rollout):
    """Return the rollout as a policy acts and values it, and the carry after it."""
    act = make_act(NETWORK)
    carry, log_probs, actions, values = rollout.carry, [], [], []
    for t in range(T):
        obs = jax.tree.map(lambda x, t=t: x[t], rollout.obs)
        action, log_prob, value, carry = act(
            state.params,
            state.normalizer,
            obs,
            carry,
            rollout.is_first[t],
            jax.random.key(t),
        )
        actions.append(action)
        log_probs.append(log_prob)
        values.append(value)
    last = jax.tree.map(lambda x: x[T], rollout.obs)
    inputs = (state.params, state.normalizer, last, carry, rollout.is_first[T])
    rollout = rollout._replace(
        action=np.stack(actions),
        log_prob=np.stack(log_probs),
        value=np.stack(values),
        bootstrap_value=np.asarray(make_value(NETWORK)(*inputs)),
    )
    return rollout, carry


def nonfinite_leaf(tree):
    """Return the path of the first array that is not finite, or ""."""
    for where, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
        if not np.isfinite(leaf).all():
            return jax.tree_util.keystr(where, simple=True, separator=".")
    return ""
