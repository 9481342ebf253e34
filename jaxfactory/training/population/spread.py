"""A population spread over processes: who trains which policies, what they exchange.

Each process trains its share of the policies with its own environments. After every
update the processes tell each other the episodes that ended, so that all of them rank
the same population and draw the same changes; parameters are exchanged only when a
policy becomes a copy of another process's.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from jaxfactory._util.errors import UserError
from jaxfactory._util.signals import Interrupt
from jaxfactory.config.train import Config
from jaxfactory.distributed.team import Together
from jaxfactory.ppo.learner import TrainState
from jaxfactory.rollout.episode import Episode
from jaxfactory.training.team.agreement import Agreement, joined_metrics
from jaxfactory.training.team.members import broadcast, seeds_of


class Spread:
    """Which policies this process trains, and what it tells the others.

    Attributes:
        team: The processes.
        numbers: Those of this process's policies.

    Args:
        team: The processes.
        num_policies: Policies of all processes together.

    Raises:
        UserError: If the processes cannot have as many policies each.
    """

    def __init__(self, team: Together, num_policies: int) -> None:
        if num_policies % team.count:
            raise UserError(
                f"--num-policies {num_policies} must be a multiple of the "
                f"{team.count} processes, which train as many policies each"
            )
        self.team = team
        self._each = num_policies // team.count
        first = team.number * self._each
        self.numbers = range(first, first + self._each)
        self._nobody_learns = False
        self._agreement: Agreement | None = None

    @property
    def writes(self) -> bool:
        """Whether this process writes what belongs to the whole population."""
        return self.team.number == 0

    def obey(self, interrupt: Interrupt) -> None:
        """Have a signal to one process end all of them."""
        self._agreement = Agreement(self.team, interrupt)

    def index(self, number: int) -> int | None:
        """Return a policy's place among those of this process; None if elsewhere."""
        return number - self.numbers.start if number in self.numbers else None

    def env_seeds(self, config: Config, frames: int) -> list[int] | None:
        """Return the seeds of this process's environments, by their global rows.

        Args:
            config: Settings of the population.
            frames: Frames trained on when the episodes begin.

        Returns:
            A seed for each environment; None for those that the pool itself derives.
        """
        first = self.team.number * config.env.num_envs
        rows = range(first, first + config.env.num_envs)
        return seeds_of(rows, config, frames, self.team)

    def everyone(self, mine: Sequence[Any]) -> list[Any]:
        """Return something of each policy, in the order of their numbers.

        Args:
            mine: Of this process's policies, which JSON can hold.
        """
        return [one for each in self.team.share(list(mine)) for one in each]

    def join(
        self,
        episodes: Sequence[Sequence[Episode]],
        metrics: Mapping[str, float],
        *,
        due: bool,
        nobody_learns: bool,
    ) -> tuple[list[list[Episode]], dict[str, float]]:
        """Return the episodes of all policies, and the metrics of all processes.

        Args:
            episodes: Those of each of this process's policies.
            metrics: Of this process.
            due: Whether training ends as far as this process is concerned.
            nobody_learns: Whether none of this process's policies learns any more.
        """
        if self.team.count == 1:
            return [list(ended) for ended in episodes], dict(metrics)
        assert self._agreement is not None
        everything = self._agreement.exchange(
            {
                "episodes": [[list(one) for one in ended] for ended in episodes],
                "metrics": dict(metrics),
                "nobody_learns": nobody_learns,
            },
            due,
        )
        self._nobody_learns = all(each["nobody_learns"] for each in everything)
        rows = [ended for each in everything for ended in each["episodes"]]
        found = [[Episode(*row) for row in ended] for ended in rows]
        return found, joined_metrics([each["metrics"] for each in everything])

    def stopped(self, due: bool, nobody_learns: bool) -> bool:
        """Whether training ends now: in all processes after the same update."""
        if self.team.count == 1:
            return due or nobody_learns
        assert self._agreement is not None
        return self._agreement.stopped(due) or self._nobody_learns

    def nobody_learns(self, here: bool) -> bool:
        """Whether no process has a policy that still learns.

        Args:
            here: Whether none of this process's does.
        """
        return here if self.team.count == 1 else self._nobody_learns

    def parents(
        self, states: Sequence[TrainState], copies: Sequence[tuple[int, int]]
    ) -> dict[int, TrainState]:
        """Return the states that this process's policies become copies of.

        Args:
            states: Those of this process's policies.
            copies: Number and parent of each policy that becomes a copy.
        """
        found: dict[int, TrainState] = {}
        for number, parent in copies:
            here, there = self.index(number), self.index(parent)
            if number // self._each == parent // self._each:
                if here is not None and there is not None:
                    found[parent] = states[there]
                continue
            state = broadcast(states[there or 0], from_here=there is not None)
            if here is not None:
                found[parent] = state
        return found
