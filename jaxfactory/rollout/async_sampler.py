"""Acting on a thread of its own while the learner updates.

Rollout n is what the learner makes version n + 1 from. It may be begun as soon as
version ``n - max_policy_lag`` is there. That one rule bounds the hand-over, the
policy's lag and the reuse of the pool's slabs alike: with ``max_policy_lag + 1`` slabs,
the one that rollout n is written to has been learned from.

Within that bound rollouts are played with policies as new as can be. Each step asks for
the newest, and the learner publishes what it has after every step of an update: version
3.5 is in the midst of the update that makes version 4. And where the learner is the
slower of the two, a rollout is begun so late that it is ready just when the learner
wants it, because one that lay waiting would only have become older.
"""

import math
import queue
import threading
import time
from typing import NamedTuple

from jaxfactory.metrics.timers import Stopwatch
from jaxfactory.models.normalization import Normalizer
from jaxfactory.ppo.learner import TrainState
from jaxfactory.rollout.sampler import (
    CollectedRollout,
    Episode,
    Policy,
    RolloutCollector,
    policy_of,
)
from jaxfactory.types import Params, Rollout


# Share of an iteration that a rollout should be ready before it is wanted.
_SPARE = 0.05
# Share of an error in that which is made up for at once: iterations differ.
_GAIN = 0.5


class _StoppedError(Exception):
    """The sampler was told to stop."""


class PolicyBoard:
    """Where the learner puts its newest policy and the sampler finds it."""

    def __init__(self, policy: Policy):
        """Begin with a policy."""
        self._condition = threading.Condition()
        self._policy = policy
        self._stopped = False

    def publish(self, policy: Policy) -> None:
        """Take the place of the policy that was there."""
        with self._condition:
            self._policy = policy
            self._condition.notify_all()

    def newest(self) -> Policy:
        """Return the policy that was published last."""
        return self.wait_for(self._policy.version)

    def wait_for(self, version: float) -> Policy:
        """Return the newest policy as soon as it is of this version or later."""
        with self._condition:
            self._condition.wait_for(
                lambda: self._stopped or self._policy.version >= version
            )
            if self._stopped:
                raise _StoppedError
            return self._policy

    def stop(self) -> None:
        """Turn everyone away who waits or comes."""
        with self._condition:
            self._stopped = True
            self._condition.notify_all()


class JustInTime:
    """Finds out by how much a rollout may be begun later than is allowed.

    Attributes:
        delay: In updates.
    """

    def __init__(self, longest: float):
        """Begin without a delay, and never return one above `longest`."""
        self._longest = longest
        self.delay = 0.0

    def learn(self, idle: float, waited: float, period: float) -> None:
        """See how it went.

        Args:
            idle: Seconds that a rollout was ready before the learner wanted it.
            waited: Seconds that the learner waited for it.
            period: Seconds from one rollout's hand-over to the next.
        """
        early = (idle - waited) / max(period, 1e-9) - _SPARE
        self.delay = min(max(self.delay + _GAIN * early, 0.0), self._longest)


class _Finished(NamedTuple):
    played: CollectedRollout
    when: float  # on time.perf_counter's clock


class AsyncSampler:
    """Plays rollouts on its own thread, at most `max_policy_lag` updates behind.

    Attributes:
        episodes: Those that ended in the rollout that was collected last.
    """

    def __init__(
        self, player: RolloutCollector, max_policy_lag: int, steps_per_update: int
    ):
        """Play with a player that nobody else uses.

        Args:
            player: Plays the rollouts.
            max_policy_lag: Updates that a policy may be behind when it acts.
            steps_per_update: How often parameters change in an update.
        """
        self._player = player
        self._max_policy_lag = max_policy_lag
        self._steps_per_update = steps_per_update
        self._just_in_time = JustInTime(max_policy_lag - 1 / steps_per_update)
        self._board: PolicyBoard | None = None
        self._finished: queue.SimpleQueue[_Finished | BaseException] = (
            queue.SimpleQueue()
        )
        self._thread: threading.Thread | None = None
        self._timer = Stopwatch()
        self._collected = 0.0
        self._version = 0
        self._metrics: dict[str, float] = {}
        self.episodes: list[Episode] = []

    def __enter__(self) -> "AsyncSampler":
        self._player.begin()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._board is not None:
            self._board.stop()
        if self._thread is not None:
            self._thread.join()

    def collect(self, state: TrainState) -> Rollout:
        """Hand the learner's state over and return the next rollout.

        Its arrays may be rewritten as soon as `collect` is called again, with the state
        that was made from it: that state must be ready then.

        Raises:
            EngineError: If the pool failed; whatever the thread raised comes here.
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
        wanted = time.perf_counter()
        with self._timer.phase("handover_wait"):
            finished = self._finished.get()
        if isinstance(finished, BaseException):
            raise finished
        self._pace(wanted, finished.when)
        rollout, self.episodes, metrics = finished.played
        lag = policy.version - rollout.policy_version
        self._metrics = {
            **metrics,
            **self._timer.drain(),
            "policy_lag/mean": float(lag.mean()),
            "policy_lag/max": float(lag.max()),
        }
        return rollout

    def publish(self, params: Params, normalizer: Normalizer, progress: float) -> None:
        """Act with what an update has made so far.

        Args:
            params: Ready, not still being computed.
            normalizer: What they are trained with.
            progress: Share of the update that is done, less than 1: with a whole
                version comes the leave to rewrite a slab, which `collect` gives.
        """
        if self._board is not None:
            version = self._version + progress
            self._board.publish(Policy(params, normalizer, version))

    def metrics(self) -> dict[str, float]:
        """Return the last rollout's seconds by phase, its lag, and engine restarts."""
        return self._metrics

    def _pace(self, wanted: float, finished: float) -> None:
        now = time.perf_counter()
        if self._collected:
            self._just_in_time.learn(
                idle=max(wanted - finished, 0.0),
                waited=max(finished - wanted, 0.0),
                period=now - self._collected,
            )
        self._collected = now

    def _begins_at(self, number: int) -> float:
        """Return the version that a rollout waits for."""
        steps = math.floor(self._just_in_time.delay * self._steps_per_update)
        return number - self._max_policy_lag + steps / self._steps_per_update

    def _run(self, board: PolicyBoard, first: int) -> None:
        number = first
        try:
            while True:
                with self._player.timer.phase("policy_wait"):
                    board.wait_for(self._begins_at(number))
                played = self._player.play(number, board.newest)
                self._finished.put(_Finished(played, time.perf_counter()))
                number += 1
        except _StoppedError:
            pass
        except BaseException as error:
            self._finished.put(error)
