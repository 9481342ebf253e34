"""Sampling in sync mode: collecting and updating take turns.

`async_sampler` collects on a second thread instead.
"""

from collections.abc import Sequence
from typing import Any

from jaxfactory.ppo.learner import TrainState
from jaxfactory.rollout.collector import Policy, RolloutCollector
from jaxfactory.rollout.episode import Episode
from jaxfactory.types import Rollout


class TurnTaking:
    """What samplers that collect on the caller's thread have in common.

    Attributes:
        first_seeds: Seeds of the environments' first episodes, instead of the pool's.
    """

    def __init__(self, collector: Any):
        """Take over a collector, for exclusive use."""
        self._collector = collector
        self._metrics: dict[str, float] = {}
        self.first_seeds: Sequence[int] | None = None

    def __enter__(self) -> Any:
        self._collector.begin(self.first_seeds)
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def restart(self, env_seeds: Sequence[int] | None) -> None:
        """Cut all episodes, and begin those of new seeds."""
        self._collector.begin(env_seeds)

    def metrics(self) -> dict[str, float]:
        """Return the last rollout's seconds by phase, and the engines restarted."""
        return self._metrics


class SyncSampler(TurnTaking):
    """Collects rollouts with zero policy lag, on the caller's thread.

    Observations are not copied where the learner reads the host's memory: a rollout's
    observations are the pool's slab itself. The pool needs two slabs, so that one is
    filled while the learner still reads the other; a slab is reused only after
    `collect` was given the parameters that the learner made from it.

    Attributes:
        episodes: Those that ended in the last rollout.
        publish: None, because no actions are taken during an update.
    """

    publish = None

    def __init__(self, collector: RolloutCollector):
        """Take over a collector, for exclusive use."""
        super().__init__(collector)
        self.episodes: list[Episode] = []

    def collect(self, state: TrainState) -> Rollout:
        """Collect `num_steps` steps of every environment.

        Its arrays are views into a slab that is overwritten by the next call but one.
        """
        policy = policy_of(state)
        rollout, self.episodes, self._metrics = self._collector.collect(
            int(state.step), lambda: policy
        )
        return rollout


def policy_of(state: TrainState) -> Policy:
    """Return what acting needs of a training state; waits until it is computed."""
    return Policy(state.params, state.normalizer, float(state.step))
