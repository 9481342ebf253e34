"""Acting in the pool: a `RolloutCollector` fills rollouts with a given policy.

`SyncSampler` plays on the caller's thread, with the policy that the learner has just
made; `async_sampler` plays on a thread of its own.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxfactory.config.train import Config
from jaxfactory.metrics.timers import Stopwatch
from jaxfactory.models.actor_critic import ActorCritic
from jaxfactory.models.normalization import Normalizer
from jaxfactory.ppo.learner import TrainState
from jaxfactory.rollout.policy import make_act, make_value
from jaxfactory.rollout.storage import make_storage, observations
from jaxfactory.types import Carry, Observation, Params, Rollout


class Episode(NamedTuple):
    """An episode that has ended.

    Attributes:
        shaped_return: Sum of the rewards that are trained on.
        raw_return: Sum of the scenario's raw rewards.
        length: Tics.
        truncated: It was cut and did not end by itself.
        frags: In a match, kills less suicides.
        place: In a match, 1 for the player with the most frags; elsewhere 0.
    """

    shaped_return: float
    raw_return: float
    length: int
    truncated: bool
    frags: int = 0
    place: int = 0


class Policy(NamedTuple):
    """What acting needs of a training state.

    Attributes:
        version: Updates that the parameters have seen, with a fraction in the midst
            of one.
    """

    params: Params
    normalizer: Normalizer
    version: float


class CollectedRollout(NamedTuple):
    """A rollout and what was seen while it was played.

    Attributes:
        rollout: Its arrays are views into a slab of the pool.
        episodes: Those that ended in it.
        metrics: Seconds by phase, and engines restarted so far.
    """

    rollout: Rollout
    episodes: list[Episode]
    metrics: dict[str, float]


class _Columns(NamedTuple):
    """What acting adds to a rollout, one row a step; fresh for each rollout."""

    action: np.ndarray  # [T, B, A]
    log_prob: np.ndarray  # [T, B] float32
    value: np.ndarray  # [T, B]
    policy_version: np.ndarray  # [T, B] float32
    bootstrap_value: np.ndarray  # [B]


class _Truncation(NamedTuple):
    """Episodes of one group that were truncated at step t."""

    t: int
    rows: np.ndarray  # in the batch
    picked: np.ndarray  # in the group
    final_obs: Observation  # copied: the pool uses the buffers again
    carry: Carry  # the whole group's, after the step


class RolloutCollector:
    """Plays one rollout after another in a pool that nobody else steps.

    While the policy thinks for one group of environments, the pool steps the others.
    """

    def __init__(self, pool: Any, network: ActorCritic, config: Config):
        """Take over the pool."""
        self._pool = pool
        self._act = make_act(network)
        self._value = make_value(network)
        self._num_steps = config.ppo.num_steps
        self._key = jax.random.fold_in(jax.random.key(config.seed), 1)
        self._groups = range(pool.num_groups)
        size = pool.num_envs // pool.num_groups
        self._carry: list[Carry] = [network.initial_carry(size) for _ in self._groups]
        self._restarts = 0
        self._rollouts = 0
        self.timer = Stopwatch()

    def begin(self) -> None:
        """Open the first episodes."""
        self._pool.reset()
        self._opening = (self._pool.slab(0), 0)

    def play(self, number: int, newest: Callable[[], Policy]) -> CollectedRollout:
        """Play `num_steps` steps of every environment.

        Args:
            number: Of the rollout, all runs of a training together; with the seed it
                decides the sampled actions.
            newest: Returns the policy to act with; asked at every step.

        Returns:
            A rollout whose arrays are views into the next slab in turn.
        """
        pool, num_steps = self._pool, self._num_steps
        slab = pool.slab(self._rollouts % pool.num_slabs)
        storage = make_storage(slab)
        columns = self._columns()
        episodes: list[Episode] = []
        cuts: list[_Truncation] = []
        carry = jax.tree.map(lambda *x: np.concatenate(x), *map(_fetch, self._carry))
        rollout_key = jax.random.fold_in(self._key, number)
        for t in range(num_steps + 1):
            for group in self._groups:
                rows = pool.rows(group)
                if t:
                    self._receive(group, t - 1, episodes, cuts)
                policy = newest()
                # The pool fills a slab's slot 0 with its first send, too late for this:
                # what opens a rollout is read where the one before ended.
                seen, slot = (slab, t) if t else self._opening
                with self.timer.phase("transfer"):
                    obs = storage.put(t, rows, _at(seen, slot, rows))
                is_first = seen["is_first"][slot, rows]
                inputs = (policy.params, policy.normalizer, obs, self._carry[group])
                with self.timer.phase("act"):
                    if t == num_steps:
                        columns.bootstrap_value[rows] = self._value(*inputs, is_first)
                        continue
                    count = np.uint32(t * len(self._groups) + group)
                    outputs = self._act(*inputs, is_first, rollout_key, count)
                    *made, self._carry[group] = outputs
                    action, log_prob, value = jax.device_get(made)
                pool.send(group, action)
                columns.action[t, rows] = action
                columns.log_prob[t, rows] = log_prob
                columns.value[t, rows] = value
                columns.policy_version[t, rows] = policy.version
        with self.timer.phase("act"):
            final_value = self._final_values(newest(), cuts)
        self._rollouts += 1
        self._opening = (slab, num_steps)
        rollout = Rollout(
            obs=storage.finish(),
            is_first=slab["is_first"],
            reward=slab["reward"][1:],
            terminated=slab["terminated"][1:],
            truncated=slab["truncated"][1:],
            final_value=final_value,
            carry=carry,
            **columns._asdict(),
        )
        restarts = {"pool/engine_restarts": float(self._restarts)}
        return CollectedRollout(rollout, episodes, {**self.timer.drain(), **restarts})

    def _columns(self) -> _Columns:
        shape = (self._num_steps, self._pool.num_envs)
        actions = self._pool.spec.action
        return _Columns(
            action=np.empty((*shape, actions.width), actions.dtype),
            log_prob=np.empty(shape, np.float32),
            value=np.empty(shape, np.float32),
            policy_version=np.empty(shape, np.float32),
            bootstrap_value=np.empty(shape[1:], np.float32),
        )

    def _receive(
        self, group: int, t: int, episodes: list[Episode], cuts: list[_Truncation]
    ) -> None:
        """Take a group's answer to its action at step t."""
        with self.timer.phase("engine_wait"):
            step = self._pool.recv(group)
        if step.truncated.any():
            picked = np.flatnonzero(step.truncated)
            rows = self._pool.rows(group).start + picked
            final = step.info.final_observation
            final_obs = {name: leaf[picked] for name, leaf in final.items()}
            cuts.append(_Truncation(t, rows, picked, final_obs, self._carry[group]))
        episodes.extend(episode for _, episode in ended_episodes(step))
        self._restarts += int(np.count_nonzero(step.info.restarted))

    def _final_values(self, policy: Policy, cuts: list[_Truncation]) -> np.ndarray:
        """Return the values of what truncated episodes ended with, [T, B], else 0.

        All of a rollout's at once, in batches of a few fixed sizes, so that few
        programs are compiled.
        """
        final_value = np.zeros((self._num_steps, self._pool.num_envs), np.float32)
        if not cuts:
            return final_value
        obs = jax.tree.map(
            lambda *leaves: np.concatenate(leaves), *(cut.final_obs for cut in cuts)
        )
        carries = [
            jax.tree.map(lambda leaf, at=cut.picked: leaf[at], _fetch(cut.carry))
            for cut in cuts
        ]
        carry = jax.tree.map(lambda *leaves: np.concatenate(leaves), *carries)
        count = sum(len(cut.rows) for cut in cuts)
        size = max(_SMALLEST_BATCH, 1 << (count - 1).bit_length())
        obs, carry = jax.tree.map(lambda leaf: _padded(leaf, size), (obs, carry))
        none_first = np.zeros(size, bool)
        value = self._value(policy.params, policy.normalizer, obs, carry, none_first)
        times = np.concatenate([np.full(len(cut.rows), cut.t) for cut in cuts])
        rows = np.concatenate([cut.rows for cut in cuts])
        final_value[times, rows] = np.asarray(value)[: len(rows)]
        return final_value


class SyncSampler:
    """Plays rollouts with zero policy lag, on the caller's thread.

    Observations are not copied where the learner reads the host's memory: a rollout's
    are the pool's slab itself. The pool needs two slabs, so that one is filled while
    the learner still reads the other; the next but one is begun only after `collect`
    was given the parameters that the learner made from the first.

    Attributes:
        episodes: Those that ended in the last rollout.
        publish: None: nobody acts while an update is made.
    """

    publish = None

    def __init__(self, player: RolloutCollector):
        """Play with a player that nobody else uses."""
        self._player = player
        self._metrics: dict[str, float] = {}
        self.episodes: list[Episode] = []

    def __enter__(self) -> "SyncSampler":
        self._player.begin()
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def collect(self, state: TrainState) -> Rollout:
        """Play `num_steps` steps of every environment.

        Its arrays are views into a slab that is rewritten by the next call but one.
        """
        policy = policy_of(state)
        rollout, self.episodes, self._metrics = self._player.play(
            int(state.step), lambda: policy
        )
        return rollout

    def metrics(self) -> dict[str, float]:
        """Return what the last rollout took, by phase, and the engines restarted."""
        return self._metrics


def policy_of(state: TrainState) -> Policy:
    """Return what acting needs of a training state; waits until it is made."""
    return Policy(state.params, state.normalizer, float(state.step))


def ended_episodes(step: Any) -> Iterator[tuple[int, Episode]]:
    """Yield the row and the episode of each environment that ended one."""
    info = step.info
    for row in np.flatnonzero(step.terminated | step.truncated):
        yield (
            int(row),
            Episode(
                shaped_return=float(info.episode_shaped_return[row]),
                raw_return=float(info.episode_raw_return[row]),
                length=int(info.episode_length[row]),
                truncated=bool(step.truncated[row]),
                frags=int(info.frags[row]),
                place=int(info.place[row]),
            ),
        )


_SMALLEST_BATCH = 8


def _at(slab: dict[str, np.ndarray], slot: int, rows: slice) -> Observation:
    return {name: leaf[slot, rows] for name, leaf in observations(slab).items()}


def _padded(leaf: np.ndarray, size: int) -> np.ndarray:
    return np.pad(leaf, [(0, size - len(leaf)), *[(0, 0)] * (leaf.ndim - 1)])


def _fetch(carry: Carry) -> Carry:
    return jax.tree.map(np.asarray, carry)
