"""Tiny environments, each solvable only by an agent that does one thing right.

They have the face of the real pool and are pure NumPy. Each is a vector of
environments in which all episodes have the same length.
"""

from typing import Any, NamedTuple

import jax
import numpy as np

from jaxfactory.config.train import NetworkConfig, PPOConfig
from jaxfactory.models.actor_critic import ActorCritic
from jaxfactory.ppo.learner import TrainState, init_train_state, make_update
from jaxfactory.rollout.policy import make_act, make_value
from jaxfactory.types import ActionSpec, EnvSpec, ObservationSpec, Rollout


SIZE = 8
DARK, BRIGHT = 0, 255


class Info(NamedTuple):
    """Beside the step; rows of final_obs count where an episode ended."""

    final_obs: dict[str, np.ndarray]


class Step(NamedTuple):
    """One group's answer; leaves ``[B / groups, ...]``."""

    obs: dict[str, np.ndarray]
    reward: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    is_first: np.ndarray
    info: Info


class Probe:
    """A vector of episodes of `length` steps with a random bit each."""

    length = 1
    truncates = False

    def __init__(self, num_envs: int = 16, num_groups: int = 1, seed: int = 0):
        self.num_envs = num_envs
        self.num_groups = num_groups
        self.spec = EnvSpec(ObservationSpec((SIZE, SIZE, 1)), ActionSpec((2,)))
        self._rng = np.random.default_rng(seed)
        self._time = np.zeros(num_envs, np.int64)
        self._bit = np.zeros(num_envs, np.int64)
        self._first_action = np.zeros(num_envs, np.int64)
        self._answers: dict[int, Step] = {}

    def image(self, time: np.ndarray, bit: np.ndarray) -> np.ndarray:
        """Return images ``[B, SIZE, SIZE, 1]``; blank unless a probe overrides it."""
        del bit
        return np.zeros((len(time), SIZE, SIZE, 1), np.uint8)

    def reward(
        self, time: np.ndarray, bit: np.ndarray, action: np.ndarray, first: np.ndarray
    ) -> np.ndarray:
        """Return rewards ``[B]`` of the step at `time`."""
        raise NotImplementedError

    def reset(self) -> Step:
        """Open an episode everywhere."""
        everything = slice(0, self.num_envs)
        self._time[:] = 0
        self._bit[:] = self._rng.integers(2, size=self.num_envs)
        obs = self._observe(everything)
        zeros, off = np.zeros(self.num_envs, np.float32), np.zeros(self.num_envs, bool)
        return Step(obs, zeros, off, off, ~off, Info(obs))

    def send(self, group: int, actions: np.ndarray) -> None:
        """Start a group's step; actions int32 ``[B / groups, 1]``."""
        size = self.num_envs // self.num_groups
        rows = slice(group * size, (group + 1) * size)
        time, bit, first = self._time[rows], self._bit[rows], self._first_action[rows]
        action = np.asarray(actions)[:, 0].astype(np.int64)
        first[:] = np.where(time == 0, action, first)
        reward = self.reward(time, bit, action, first).astype(np.float32)
        time += 1
        done = time >= self.length
        final_obs = self._observe(rows)
        time[done] = 0
        bit[done] = self._rng.integers(2, size=int(done.sum()))
        never = np.zeros_like(done)
        terminated, truncated = (never, done) if self.truncates else (done, never)
        obs = self._observe(rows)
        self._answers[group] = Step(
            obs, reward, terminated, truncated, done, Info(final_obs)
        )

    def recv(self, group: int) -> Step:
        """Return what a group's last step brought."""
        return self._answers.pop(group)

    def step(self, actions: np.ndarray) -> Step:
        """Step every group and return them together."""
        parts = np.split(np.asarray(actions), self.num_groups)
        for group, part in enumerate(parts):
            self.send(group, part)
        steps = [self.recv(group) for group in range(self.num_groups)]
        return jax.tree.map(lambda *leaves: np.concatenate(leaves), *steps)

    def _observe(self, rows: slice) -> dict[str, np.ndarray]:
        return {"image": self.image(self._time[rows], self._bit[rows])}


def _flat(level: np.ndarray) -> np.ndarray:
    image = np.broadcast_to(level[:, None, None, None], (len(level), SIZE, SIZE, 1))
    return image.astype(np.uint8)


class OneStep(Probe):
    """One blank observation; action 1 is worth 1, action 0 nothing."""

    def reward(self, time, bit, action, first):
        return action


class TwoActions(Probe):
    """One step; the right action is the one that the image shows."""

    def image(self, time, bit):
        return _flat(np.where(bit == 1, BRIGHT, DARK))

    def reward(self, time, bit, action, first):
        return action == bit


class DelayedReward(Probe):
    """Four steps; the last rewards the first one's action. Images tell the time."""

    length = 4

    def image(self, time, bit):
        return _flat(time * 50)

    def reward(self, time, bit, action, first):
        return (time == 3) & (first == 1)


class Memory(Probe):
    """The first of four images shows the bit that the last action must repeat."""

    length = 4

    def image(self, time, bit):
        shown = np.where(bit == 1, BRIGHT, DARK)
        return _flat(np.where(time == 0, shown, 100 + 10 * time))

    def reward(self, time, bit, action, first):
        return (time == 3) * np.where(action == bit, 1.0, -1.0)


class Truncation(Probe):
    """A reward of 1 for ever, in episodes that are cut after three steps."""

    length = 3
    truncates = True

    def reward(self, time, bit, action, first):
        return np.ones(len(time))


NETWORK = NetworkConfig(
    conv_channels=(8,),
    conv_kernels=(4,),
    conv_strides=(2,),
    hidden_size=32,
    core_size=32,
)
PPO = PPOConfig(
    num_steps=8,
    num_minibatches=2,
    num_epochs=4,
    learning_rate=3e-3,
    gamma=0.9,
    clip_eps=0.2,
    ent_coef=0.001,
)


class Collector:
    """The simplest sampler there is: one thread, one group, nothing overlapped."""

    def __init__(self, pool: Probe, network: ActorCritic, num_steps: int, seed: int):
        self._pool, self._num_steps = pool, num_steps
        self._act, self._value = make_act(network), make_value(network)
        self._last = pool.reset()
        self._carry = network.initial_carry(pool.num_envs)
        self._key = jax.random.key(seed)

    def collect(self, state: TrainState) -> Rollout:
        """Act for a rollout's length."""
        start, rows = self._carry, []
        obs, is_first = [self._last.obs], [self._last.is_first]
        for _ in range(self._num_steps):
            rows.append(self._step(state))
            obs.append(self._last.obs)
            is_first.append(self._last.is_first)
        bootstrap = self._final_value(state, self._last.obs, self._last.is_first)
        stack = jax.tree.map(lambda *leaves: np.stack(leaves), *rows)
        return Rollout(
            obs=jax.tree.map(lambda *leaves: np.stack(leaves), *obs),
            is_first=np.stack(is_first),
            bootstrap_value=bootstrap,
            carry=start,
            policy_version=np.zeros(stack["reward"].shape, np.float32),
            **stack,
        )

    def _step(self, state: TrainState) -> dict[str, np.ndarray]:
        self._key, key = jax.random.split(self._key)
        action, log_prob, value, self._carry = self._act(
            state.params,
            state.normalizer,
            self._last.obs,
            self._carry,
            self._last.is_first,
            key,
        )
        step = self._last = self._pool.step(np.asarray(action))
        never = np.zeros_like(step.is_first)
        return {
            "action": np.asarray(action),
            "log_prob": np.asarray(log_prob),
            "value": np.asarray(value),
            "reward": step.reward,
            "terminated": step.terminated,
            "truncated": step.truncated,
            "final_value": self._final_value(state, step.info.final_obs, never),
        }

    def _final_value(self, state: TrainState, obs: Any, is_first: Any) -> np.ndarray:
        args = (state.params, state.normalizer, obs, self._carry, is_first)
        return np.asarray(self._value(*args))


class Result(NamedTuple):
    """How training went; the means are over the last rollouts."""

    state: TrainState
    network: ActorCritic
    rollout: Rollout
    reward: float
    value: float


def train(
    pool: Probe,
    iterations: int,
    ppo: PPOConfig = PPO,
    network_config: NetworkConfig = NETWORK,
    seed: int = 0,
    last: int = 5,
) -> Result:
    """Train for a number of rollouts and return how the last ones went.

    `Result.value` is in the reward's units.
    """
    network = ActorCritic(pool.spec, network_config)
    state = init_train_state(network, ppo, jax.random.key(seed))
    update = make_update(network, ppo)
    collector = Collector(pool, network, ppo.num_steps, seed + 1)
    rewards, values = [], []
    for _ in range(iterations):
        rollout = collector.collect(state)
        state, metrics = update(state, rollout)
        rewards.append(rollout.reward.mean())
        values.append(float(metrics["value_mean"]))
    tail = slice(-last, None)
    return Result(
        state,
        network,
        rollout,
        float(np.mean(rewards[tail])),
        float(np.mean(values[tail])),
    )
