"""Sampling in async mode: rollouts are collected on a second thread during updates.

The learner computes version n + 1 from rollout n. Collecting it may start as soon as
version ``n - max_policy_lag`` is published. That one rule bounds the number of rollouts
in flight, the policy lag and the reuse of the pool's slabs alike: with
``max_policy_lag + 1`` slabs, the learner is done with the slab that rollout n will
overwrite.

Within that bound, rollouts are collected with policies as new as possible. Each step
asks for the newest, and the learner publishes its parameters after every minibatch:
version 3.5 is in the middle of the update that makes version 4. Where the learner is
the slower of the two, a rollout is started so late that it is ready just when the
learner needs it: a rollout that waits only becomes more stale.
"""

import math
import queue
import threading
import time
from typing import NamedTuple

from jaxfactory.metrics.timers import Stopwatch
from jaxfactory.models.normalization import Normalizer
from jaxfactory.ppo.learner import TrainState
from jaxfactory.rollout.collector import CollectedRollout, Policy, RolloutCollector
from jaxfactory.rollout.episode import Episode
from jaxfactory.rollout.sampler import policy_of
from jaxfactory.types import Params, Rollout


# A rollout should be ready this share of an iteration before it is needed.
_SPARE = 0.05
# The share of the timing error that is corrected at once, because iterations vary.
_GAIN = 0.5


class _StoppedError(Exception):
    """The sampler was asked to stop."""


class PolicyBoard:
    """Where the learner publishes its newest policy and the sampler reads it."""

    def __init__(self, policy: Policy):
        """Start with a policy."""
        self._condition = threading.Condition()
        self._policy = policy
        self._stopped = False

    def publish(self, policy: Policy) -> None:
        """Replace the policy."""
        with self._condition:
            self._policy = policy
            self._condition.notify_all()

    def newest(self) -> Policy:
        """Return the policy that was published last."""
        return self.wait_for(self._policy.version)

    def wait_for(self, version: float) -> Policy:
        """Return the newest policy once it is of this version or later."""
        with self._condition:
            self._condition.wait_for(
                lambda: self._stopped or self._policy.version >= version
            )
            if self._stopped:
                raise _StoppedError
            return self._policy

    def stop(self) -> None:
        """Make every call that waits, now or later, raise `_StoppedError`."""
        with self._condition:
            self._stopped = True
            self._condition.notify_all()


class JustInTime:
    """Controls how long the start of a rollout is delayed.

    Attributes:
        delay: In updates, from the earliest start that the policy lag allows.
    """

    def __init__(self, longest: float):
        """Start without a delay, and limit it to `longest`."""
        self._longest = longest
        self.delay = 0.0

    def learn(self, idle: float, waited: float, period: float) -> None:
        """Adapt the delay to how the last rollout was timed.

        Args:
            idle: Seconds that the rollout was ready before the learner needed it.
            waited: Seconds that the learner waited for it.
            period: Seconds from one rollout's handover to the next.
        """
        early = (idle - waited) / max(period, 1e-9) - _SPARE
        self.delay = min(max(self.delay + _GAIN * early, 0.0), self._longest)


class _Finished(NamedTuple):
    collected: CollectedRollout
    when: float  # on time.perf_counter's clock


class AsyncSampler:
    """Collects rollouts on its own thread, at most `max_policy_lag` updates behind.

    Attributes:
        episodes: Those that ended in the last rollout.
    """

    def __init__(
        self, collector: RolloutCollector, max_policy_lag: int, steps_per_update: int
    ):
        """Take over a collector, for exclusive use.

        Args:
            collector: Collects the rollouts.
            max_policy_lag: Updates that a policy may be behind when it acts.
            steps_per_update: Minibatches of an update; each changes the parameters.
        """
        self._collector = collector
        self._max_policy_lag = max_policy_lag
        self._steps_per_update = steps_per_update
        self._just_in_time = JustInTime(max_policy_lag - 1 / steps_per_update)
        self._board: PolicyBoard | None = None
        self._finished: queue.SimpleQueue[_Finished | BaseException] = (
            queue.SimpleQueue()
        )
        self._thread: threading.Thread | None = None
        self._timer = Stopwatch()
        self._handed_over = 0.0
        self._version = 0
        self._metrics: dict[str, float] = {}
        self.episodes: list[Episode] = []

    def __enter__(self) -> "AsyncSampler":
        self._collector.begin()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._board is not None:
            self._board.stop()
        if self._thread is not None:
            self._thread.join()

    def collect(self, state: TrainState) -> Rollout:
        """Publish the learner's state and return the next rollout.

        Its arrays may be overwritten as soon as `collect` is called again, with the
        state that was made from them: that state must be ready then.

        Raises:
            EngineError: If the pool failed; whatever the thread raised is raised here.
        """
        policy = policy_of(state)
        self._version = int(policy.version)
        if self._board is None:
            self._board = PolicyBoard(policy)
            self._thread = threading.Thread(
                target=self._run, args=(self._board, self._version), name="sampler"
            )
            self._thread.start()
        else:
            self._board.publish(policy)
        needed = time.perf_counter()
        with self._timer.phase("handover_wait"):
            finished = self._finished.get()
        if isinstance(finished, BaseException):
            raise finished
        self._pace(needed, finished.when)
        rollout, self.episodes, metrics = finished.collected
        lag = policy.version - rollout.policy_version
        self._metrics = {
            **metrics,
            **self._timer.drain(),
            "policy_lag/mean": float(lag.mean()),
            "policy_lag/max": float(lag.max()),
        }
        return rollout

    def publish(self, params: Params, normalizer: Normalizer, progress: float) -> None:
        """Act with an update's intermediate parameters from now on.

        Args:
            params: Computed, not pending.
            normalizer: The statistics they are trained with.
            progress: Share of the update that is done, less than 1: a whole version
                allows a slab to be overwritten, which only `collect` may do.
        """
        if self._board is not None:
            version = self._version + progress
            self._board.publish(Policy(params, normalizer, version))

    def metrics(self) -> dict[str, float]:
        """Return the last rollout's seconds by phase, its lag, and engine restarts."""
        return self._metrics

    def _pace(self, needed: float, finished: float) -> None:
        now = time.perf_counter()
        if self._handed_over:
            self._just_in_time.learn(
                idle=max(needed - finished, 0.0),
                waited=max(finished - needed, 0.0),
                period=now - self._handed_over,
            )
        self._handed_over = now

    def _start_version(self, number: int) -> float:
        """Return the version that a rollout's start waits for."""
        steps = math.floor(self._just_in_time.delay * self._steps_per_update)
        return number - self._max_policy_lag + steps / self._steps_per_update

    def _run(self, board: PolicyBoard, first: int) -> None:
        number = first
        try:
            while True:
                with self._collector.timer.phase("policy_wait"):
                    board.wait_for(self._start_version(number))
                collected = self._collector.collect(number, board.newest)
                self._finished.put(_Finished(collected, time.perf_counter()))
                number += 1
        except _StoppedError:
            pass
        except BaseException as error:
            self._finished.put(error)
