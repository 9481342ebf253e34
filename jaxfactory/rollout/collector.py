"""Collecting rollouts from a pool of environments: observe, act, receive."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxfactory.distributed.devices import ONE_DEVICE, Devices
from jaxfactory.league.self_play import SelfPlay
from jaxfactory.metrics.timers import Stopwatch
from jaxfactory.models.actor_critic import ActorCritic
from jaxfactory.models.normalization import VARIABLES
from jaxfactory.rollout.columns import (
    Columns,
    as_variables,
    fetch,
    final_variables,
    make_columns,
    stacked,
)
from jaxfactory.rollout.episode import Episode, ended_episodes
from jaxfactory.rollout.policy import Policy, make_act, make_value
from jaxfactory.rollout.storage import Storage, make_storage, observations
from jaxfactory.rollout.truncation import Truncation, final_values, truncation_of
from jaxfactory.types import Carry, Observation, Rollout


class CollectedRollout(NamedTuple):
    """A rollout and what was measured while it was collected.

    Attributes:
        rollout: Its arrays are views into a slab of the pool.
        episodes: Those that ended in it.
        metrics: Seconds by phase, and engines restarted so far.
    """

    rollout: Rollout
    episodes: list[Episode]
    metrics: dict[str, float]


class _Unfinished(NamedTuple):
    """A rollout that is being collected."""

    slab: dict[str, np.ndarray]
    storage: Storage
    columns: Columns
    variables: np.ndarray  # [T+1, B, V] float32; V is 0 unless the critic sees them
    key: Any
    newest: Callable[[], Policy]
    episodes: list[Episode]
    truncations: list[Truncation]


class RolloutCollector:
    """Collects one rollout after another from a pool that only it steps.

    While the policy acts for one group of environments, the pool steps the others.
    """

    def __init__(
        self,
        pool: Any,
        network: ActorCritic,
        *,
        num_steps: int,
        seed: int,
        segment_steps: int | None = None,
        self_play: SelfPlay | None = None,
        devices: Devices = ONE_DEVICE,
    ) -> None:
        """Take over the pool.

        Args:
            pool: The environments.
            network: The actor-critic.
            num_steps: Steps of each environment in a rollout.
            seed: Seed of the sampled actions.
            segment_steps: Steps of a segment, at whose start the recurrent state is
                stored; by default all steps.
            self_play: Acts in the seats of opponents. Rollouts then have only the rows
                that learn, as copies.
            devices: Those that act, each for a share of every group.
        """
        self._pool = pool
        self._self_play = self_play
        self._act_fn = make_act(network, devices=devices)
        self._value_fn = make_value(network, devices)
        self._devices = devices
        self._num_steps = num_steps
        self._segment_steps = segment_steps or num_steps
        # 0 and 1 give the keys that `init_train_state` splits this key into.
        self._key = jax.random.fold_in(jax.random.key(seed), 2)
        self._groups = range(pool.num_groups)
        size = pool.num_envs // pool.num_groups
        self._first_carry = [network.initial_carry(size) for _ in self._groups]
        self._num_variables = network.num_variables
        self._storages: dict[int, Storage] = {}
        self._restarts = 0
        self.timer = Stopwatch()

    def begin(self, env_seeds: Sequence[int] | None = None) -> None:
        """Start the first episodes, or new ones everywhere.

        Args:
            env_seeds: New seeds of the environments; those of the pool if None.
        """
        self._pool.reset(env_seeds)
        self._carry = list(self._first_carry)
        self._rollouts = 0  # The pool begins with slab 0 again.
        # Where the newest observations are: a slab and a slot in it.
        self._latest = (self._pool.slab(0), 0)

    def collect(self, number: int, newest: Callable[[], Policy]) -> CollectedRollout:
        """Collect `num_steps` steps of every environment.

        Args:
            number: Index of the rollout in the training run; with the seed it
                determines the sampled actions.
            newest: Returns the policy to act with; called at every step.

        Returns:
            A rollout whose arrays are views into the next slab in turn.
        """
        rollout = self._start(number, newest)
        if self._self_play:
            self._self_play.begin_rollout(newest())
        carries = [self._whole_carry()]
        for group in self._groups:
            # The pool copies these into slot 0 only with its first send.
            self._act(rollout, group, 0, self._latest)
        for t in range(1, self._num_steps):
            if t % self._segment_steps == 0:
                carries.append(self._whole_carry())
            for group in self._groups:
                self._receive(rollout, group, t - 1)
                self._act(rollout, group, t, (rollout.slab, t))
        for group in self._groups:
            self._receive(rollout, group, self._num_steps - 1)
            self._bootstrap(rollout, group)
        return self._finish(rollout, carries)

    def _whole_carry(self) -> Carry:
        """Return the carry of all environments, after what they did last."""
        return jax.tree.map(lambda *x: np.concatenate(x), *map(fetch, self._carry))

    def _start(self, number: int, newest: Callable[[], Policy]) -> _Unfinished:
        index = self._rollouts % self._pool.num_slabs
        slab = self._pool.slab(index)
        if index not in self._storages:
            self._storages[index] = make_storage(slab, self._devices)
        key = jax.random.fold_in(self._key, number)
        shape = (self._num_steps + 1, self._pool.num_envs, self._num_variables)
        return _Unfinished(
            slab=slab,
            storage=self._storages[index],
            columns=make_columns(self._pool, self._num_steps),
            variables=np.empty(shape, np.float32),
            key=key,
            newest=newest,
            episodes=[],
            truncations=[],
        )

    def _observe(
        self,
        rollout: _Unfinished,
        group: int,
        t: int,
        place: tuple[dict[str, np.ndarray], int],
    ) -> tuple[Observation, np.ndarray]:
        """Return a group's observation for step t, and ``is_first``."""
        slab, slot = place
        rows = self._pool.rows(group)
        with self.timer.phase("transfer"):
            obs = {name: x[slot, rows] for name, x in observations(slab).items()}
            obs = rollout.storage.put(t, rows, obs)
            if self._num_variables:
                variables = as_variables(slab["game_variables"][slot, rows])
                rollout.variables[t, rows] = variables
                obs = {**obs, VARIABLES: variables}
        return obs, slab["is_first"][slot, rows]

    def _act(
        self,
        rollout: _Unfinished,
        group: int,
        t: int,
        place: tuple[dict[str, np.ndarray], int],
    ) -> None:
        """Choose a group's actions for step t and send them to the pool."""
        policy = rollout.newest()
        obs, is_first = self._observe(rollout, group, t, place)
        rows, columns = self._pool.rows(group), rollout.columns
        with self.timer.phase("act"):
            inputs = (obs, self._carry[group], is_first)
            action, log_prob, value, self._carry[group] = self._choose(
                policy, rows, inputs, rollout.key, self._count(group, t)
            )
        self._pool.send(group, action)
        columns.action[t, rows] = action
        columns.log_prob[t, rows] = log_prob
        columns.value[t, rows] = value
        columns.policy_version[t, rows] = policy.version

    def _count(self, group: int, t: int) -> int:
        """Return what tells a group's actions at step t from others of its rollout."""
        return t * len(self._groups) + group

    def _choose(
        self, policy: Policy, rows: slice, inputs: Any, key: Any, count: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, Carry]:
        """Return a group's actions, log-probs, values and carry.

        `inputs` are observation, carry and ``is_first``.
        """
        if self._self_play:
            counts = (count, self._num_steps * len(self._groups))
            return self._self_play.act(self._act_fn, policy, rows, *inputs, key, counts)
        *outputs, carry = self._act_fn(
            policy.params, policy.normalizer, *inputs, key, np.uint32(count)
        )
        return *jax.device_get(outputs), carry

    def _values(self, policy: Policy, rows: slice, *inputs: Any) -> Any:
        """Return the values of a group's rows."""
        del rows
        return self._value_fn(policy.params, policy.normalizer, *inputs)

    def _final_values(
        self, policy: Policy, cuts: list[Truncation], shape: tuple[int, int]
    ) -> np.ndarray:
        """Return the values of the observations that truncated episodes ended with."""
        size = self._pool.num_envs // self._pool.num_groups
        value = partial(self._values, policy, slice(0))
        return final_values(cuts, shape, value, size)

    def _results(self, step: Any, start: int) -> Iterator[Episode]:
        """Yield the episodes of learning rows that a step ended; rate its matches."""
        learns = self._self_play.seats.learns[start:] if self._self_play else None
        for row, episode in ended_episodes(step):
            if learns is None or learns[row]:
                yield episode
        if self._self_play:
            self._self_play.receive(step, start)

    def _receive(self, rollout: _Unfinished, group: int, t: int) -> None:
        """Receive the results of a group's actions at step t."""
        with self.timer.phase("engine_wait"):
            step = self._pool.recv(group)
        start = self._pool.rows(group).start
        if cut := truncation_of(step, t, start, self._carry[group]):
            if self._num_variables:
                cut.final_obs[VARIABLES] = final_variables(step.info, cut.picked)
            rollout.truncations.append(cut)
        rollout.episodes.extend(self._results(step, start))
        self._restarts += int(np.count_nonzero(step.info.restarted))

    def _bootstrap(self, rollout: _Unfinished, group: int) -> None:
        """Compute the values of a group's observations after the last step."""
        policy, rows = rollout.newest(), self._pool.rows(group)
        place = (rollout.slab, self._num_steps)
        obs, is_first = self._observe(rollout, group, self._num_steps, place)
        with self.timer.phase("act"):
            rollout.columns.bootstrap_value[rows] = self._values(
                policy, rows, obs, self._carry[group], is_first
            )

    def _finish(self, rollout: _Unfinished, carries: list[Carry]) -> CollectedRollout:
        slab = rollout.slab
        with self.timer.phase("act"):
            shape = (self._num_steps, self._pool.num_envs)
            final_value = self._final_values(
                rollout.newest(), rollout.truncations, shape
            )
        self._rollouts += 1
        self._latest = (slab, self._num_steps)
        obs = rollout.storage.finish()
        if self._num_variables:
            obs = {**obs, VARIABLES: rollout.variables}
        collected = Rollout(
            obs=obs,
            is_first=slab["is_first"],
            reward=slab["reward"][1:],
            terminated=slab["terminated"][1:],
            truncated=slab["truncated"][1:],
            final_value=final_value,
            carry=carries[0],
            segment_carry=stacked(carries[1:]),
            **rollout.columns._asdict(),
        )
        restarts = {"pool/engine_restarts": float(self._restarts)}
        metrics = {**self.timer.drain(), **restarts}
        if self._self_play:
            collected = self._self_play.seats.learning(collected)
            self._self_play.end_rollout(self._num_steps)
            metrics |= self._self_play.metrics()
        return CollectedRollout(collected, rollout.episodes, metrics)
