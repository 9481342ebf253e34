"""Sampling for several policies in sync mode: collecting and updating take turns."""

from collections.abc import Sequence

from jaxfactory.population.collector import Policies, PopulationCollector
from jaxfactory.ppo.learner import TrainState
from jaxfactory.rollout.episode import Episode
from jaxfactory.rollout.sampler import policy_of
from jaxfactory.types import Rollout


class PopulationSampler:
    """Collects rollouts with zero policy lag, on the caller's thread.

    Attributes:
        episodes: Those of each policy that ended in the last rollouts.
        first_seeds: Seeds of the environments' first episodes, instead of the pool's.
    """

    def __init__(self, collector: PopulationCollector):
        """Take over a collector, for exclusive use."""
        self._collector = collector
        self._metrics: dict[str, float] = {}
        self.episodes: tuple[list[Episode], ...] = ()
        self.first_seeds: Sequence[int] | None = None

    def __enter__(self) -> "PopulationSampler":
        self._collector.begin(self.first_seeds)
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def restart(self, env_seeds: Sequence[int] | None) -> None:
        """Cut all episodes, and begin those of new seeds."""
        self._collector.begin(env_seeds)

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

    def metrics(self) -> dict[str, float]:
        """Return the last rollouts' seconds by phase, and the engines restarted."""
        return self._metrics
