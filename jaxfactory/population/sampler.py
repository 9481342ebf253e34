"""Sampling for several policies in sync mode: collecting and updating take turns."""

from collections.abc import Sequence

from jaxfactory.population.collector import Policies, PopulationCollector
from jaxfactory.ppo.learner import TrainState
from jaxfactory.rollout.episode import Episode
from jaxfactory.rollout.sampler import TurnTaking, policy_of
from jaxfactory.types import Rollout


class PopulationSampler(TurnTaking):
    """Collects rollouts with zero policy lag, on the caller's thread.

    Attributes:
        episodes: Those of each policy that ended in the last rollouts.
    """

    def __init__(self, collector: PopulationCollector):
        """Take over a collector, for exclusive use."""
        super().__init__(collector)
        self.episodes: tuple[list[Episode], ...] = ()

    def collect(self, states: Sequence[TrainState]) -> tuple[Rollout, ...]:
        """Collect `num_steps` steps of every environment; return each policy's.

        All policies have had as many updates.
        """
        members = tuple(policy_of(state) for state in states)
        policies = Policies(members, members[0].version)
        rollouts, self.episodes, self._metrics = self._collector.collect_all(
            int(members[0].version), lambda: policies
        )
        return rollouts

    def forget(self, policies: Sequence[int]) -> None:
        """Empty the recurrent state of policies that have other parameters now."""
        self._collector.forget(policies)
