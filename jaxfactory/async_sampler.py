"""Acting on a thread of its own while the learner updates.

Rollout n is what the learner makes version n + 1 from. It may be begun as soon as
version ``n - max_policy_lag`` is there, and each of its steps is played with the newest
version that there is. That one rule bounds the hand-over, the policy's lag and the
reuse of the pool's slabs alike: with ``max_policy_lag + 1`` slabs, the one that rollout
n is written to has been learned from.
"""

import queue
import threading

from jaxfactory.learner import TrainState
from jaxfactory.metrics import Stopwatch
from jaxfactory.sampler import Episode, Played, Player, Policy, policy_of
from jaxfactory.types import Rollout


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

    def wait_for(self, version: int) -> Policy:
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


class AsyncSampler:
    """Plays rollouts on its own thread, at most `max_policy_lag` updates behind.

    Attributes:
        episodes: Those that ended in the rollout that was collected last.
    """

    def __init__(self, player: Player, max_policy_lag: int):
        """Play with a player that nobody else uses."""
        self._player = player
        self._max_policy_lag = max_policy_lag
        self._board: PolicyBoard | None = None
        self._finished: queue.SimpleQueue[Played | BaseException] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._timer = Stopwatch()
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
        if self._board is None:
            self._board = PolicyBoard(policy)
            self._thread = threading.Thread(
                target=self._run, args=(self._board, policy.version), name="sampler"
            )
            self._thread.start()
        else:
            self._board.publish(policy)
        with self._timer.leg("handover_wait"):
            played = self._finished.get()
        if isinstance(played, BaseException):
            raise played
        rollout, self.episodes, metrics = played
        lag = policy.version - rollout.policy_version
        self._metrics = {
            **metrics,
            **self._timer.drain(),
            "policy_lag/mean": float(lag.mean()),
            "policy_lag/max": float(lag.max()),
        }
        return rollout

    def metrics(self) -> dict[str, float]:
        """Return what the last rollout took, by leg, its lag and engines restarted."""
        return self._metrics

    def _run(self, board: PolicyBoard, first: int) -> None:
        number = first
        try:
            while True:
                with self._player.timer.leg("policy_wait"):
                    board.wait_for(number - self._max_policy_lag)
                self._finished.put(self._player.play(number, board.newest))
                number += 1
        except _StoppedError:
            pass
        except BaseException as error:
            self._finished.put(error)
