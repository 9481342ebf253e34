"""Acting in the pool: `collect` plays one rollout with the parameters it is given."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxfactory.acting import make_act, make_value
from jaxfactory.config import Config
from jaxfactory.learner import TrainState
from jaxfactory.metrics import Stopwatch
from jaxfactory.networks import ActorCritic
from jaxfactory.types import Carry, Rollout


class Episode(NamedTuple):
    """An episode that has ended.

    Attributes:
        return_: Sum of the rewards that are trained on.
        own_return: Sum of the scenario's own rewards.
        length: Tics.
        truncated: It was cut and did not end by itself.
    """

    return_: float
    own_return: float
    length: int
    truncated: bool


class _Columns(NamedTuple):
    """What acting adds to a rollout, one row a step; fresh for each rollout."""

    action: np.ndarray  # [T, B, heads] int32
    log_prob: np.ndarray  # [T, B] float32
    value: np.ndarray  # [T, B]
    final_value: np.ndarray  # [T, B]
    bootstrap_value: np.ndarray  # [B]


class SyncSampler:
    """Plays rollouts with zero policy lag, on the caller's thread.

    While the policy thinks for one group of environments, the pool steps the others.
    Observations are not copied: a rollout's are the pool's slab itself. The pool needs
    two slabs, so that one is filled while the learner still reads the other; the next
    but one is begun only after `collect` was given the parameters that the learner
    made from the first.

    Attributes:
        episodes: Those that ended in the last rollout.
    """

    def __init__(self, pool: Any, network: ActorCritic, config: Config):
        """Take over a pool that nobody else steps."""
        self._pool = pool
        self._act = make_act(network)
        self._value = make_value(network)
        self._num_steps = config.ppo.num_steps
        self._key = jax.random.fold_in(jax.random.key(config.seed), 1)
        self._groups = range(pool.num_groups)
        size = pool.num_envs // pool.num_groups
        self._carry: list[Carry] = [network.initial_carry(size) for _ in self._groups]
        self._restarts = 0
        self._timer = Stopwatch()
        self.episodes: list[Episode] = []

    def __enter__(self) -> "SyncSampler":
        self._pool.reset()
        self._rollouts = 0
        self._opening = (self._pool.slab(0), 0)
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def collect(self, state: TrainState) -> Rollout:
        """Play `num_steps` steps of every environment.

        Its arrays are views into a slab that is rewritten by the next call but one.
        """
        pool, num_steps = self._pool, self._num_steps
        slab = pool.slab(self._rollouts % pool.num_slabs)
        columns = self._columns()
        self.episodes = []
        carry = jax.tree.map(lambda *x: np.concatenate(x), *map(_fetch, self._carry))
        rollout_key = jax.random.fold_in(self._key, state.step)
        for t in range(num_steps + 1):
            for group in self._groups:
                rows = pool.rows(group)
                if t:
                    self._receive(state, group, columns, t - 1)
                # The pool fills a slab's slot 0 with its first send, too late for this:
                # what opens a rollout is read where the one before ended.
                seen, slot = (slab, t) if t else self._opening
                obs = {"image": seen["obs"][slot, rows]}
                is_first = seen["is_first"][slot, rows]
                inputs = (state.params, state.normalizer, obs, self._carry[group])
                if t == num_steps:
                    with self._timer.leg("act"):
                        columns.bootstrap_value[rows] = self._value(*inputs, is_first)
                    continue
                with self._timer.leg("act"):
                    count = np.uint32(t * len(self._groups) + group)
                    outputs = self._act(*inputs, is_first, rollout_key, count)
                    *made, self._carry[group] = outputs
                    action, log_prob, value = jax.device_get(made)
                pool.send(group, action)
                columns.action[t, rows] = action
                columns.log_prob[t, rows] = log_prob
                columns.value[t, rows] = value
        self._rollouts += 1
        self._opening = (slab, num_steps)
        return Rollout(
            obs={"image": slab["obs"]},
            is_first=slab["is_first"],
            reward=slab["reward"][1:],
            terminated=slab["terminated"][1:],
            truncated=slab["truncated"][1:],
            carry=carry,
            policy_version=state.step,
            **columns._asdict(),
        )

    def metrics(self) -> dict[str, float]:
        """Return what the last rollout took, by leg, and the engines restarted."""
        return {
            **self._timer.drain(),
            "pool/engine_restarts": float(self._restarts),
        }

    def _columns(self) -> _Columns:
        shape = (self._num_steps, self._pool.num_envs)
        heads = len(self._pool.spec.action.heads)
        return _Columns(
            action=np.empty((*shape, heads), np.int32),
            log_prob=np.empty(shape, np.float32),
            value=np.empty(shape, np.float32),
            final_value=np.zeros(shape, np.float32),
            bootstrap_value=np.empty(shape[1:], np.float32),
        )

    def _receive(
        self, state: TrainState, group: int, columns: _Columns, t: int
    ) -> None:
        """Take a group's answer to its action at step t."""
        with self._timer.leg("engine_wait"):
            step = self._pool.recv(group)
        info = step.info
        if step.truncated.any():
            # Before the next send, which reuses the buffer of final observations.
            with self._timer.leg("act"):
                value = self._value(
                    state.params,
                    state.normalizer,
                    {"image": info.final_obs},
                    self._carry[group],
                    np.zeros_like(step.is_first),
                )
                rows = self._pool.rows(group)
                columns.final_value[t, rows] = np.where(step.truncated, value, 0.0)
        self.episodes.extend(episode for _, episode in ended_episodes(step))
        self._restarts += int(np.count_nonzero(info.restarted))


def ended_episodes(step: Any) -> Iterator[tuple[int, Episode]]:
    """Yield the row and the episode of each environment that ended one."""
    info = step.info
    for row in np.flatnonzero(step.terminated | step.truncated):
        yield (
            int(row),
            Episode(
                return_=float(info.episode_return[row]),
                own_return=float(info.episode_own_return[row]),
                length=int(info.episode_length[row]),
                truncated=bool(step.truncated[row]),
            ),
        )


def _fetch(carry: Carry) -> Carry:
    return jax.tree.map(np.asarray, carry)


def make_sampler(pool: Any, network: ActorCritic, config: Config) -> SyncSampler:
    """Return the sampler for a configuration; a context manager."""
    return SyncSampler(pool, network, config)
