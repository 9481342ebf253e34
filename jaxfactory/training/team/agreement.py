"""What the processes of a run agree on after each iteration."""

from collections.abc import Mapping, Sequence
from typing import Any

from jaxfactory._util.signals import Interrupt
from jaxfactory.distributed.team import Together
from jaxfactory.rollout.episode import Episode


class Agreement:
    """Joins what the processes report, and lets them end after the same update.

    Args:
        team: The processes.
        interrupt: Takes over a signal that another process received.
    """

    def __init__(self, team: Together, interrupt: Interrupt) -> None:
        self._team = team
        self._interrupt = interrupt
        self._stop = False

    def begin_update(self) -> None:
        """Wait until every process is about to begin the same update."""
        self._team.begin_update()

    def end(self) -> None:
        """Tell the others that no update follows."""
        self._team.after_training()

    def stopped(self, due: bool) -> bool:
        """Whether training ends now: in all processes after the same update.

        Args:
            due: Whether it ends as far as this process is concerned.
        """
        return due if self._team.count == 1 else self._stop

    def join(
        self, episodes: Sequence[Episode], metrics: Mapping[str, float], due: bool
    ) -> tuple[Sequence[Episode], Mapping[str, float]]:
        """Return the episodes and the metrics of all processes together.

        Args:
            episodes: Those that ended in this process's rollout.
            metrics: Of this process.
            due: Whether training ends as far as this process is concerned.
        """
        if self._team.count == 1:
            return episodes, metrics
        rows = [list(episode) for episode in episodes]
        everything = self.exchange({"episodes": rows, "metrics": dict(metrics)}, due)
        rows = [row for each in everything for row in each["episodes"]]
        joined = joined_metrics([each["metrics"] for each in everything])
        return [Episode(*row) for row in rows], joined

    def exchange(self, what: Any, due: bool) -> list[Any]:
        """Return what each process tells the others after an update.

        Args:
            what: Told by this one; JSON can hold it.
            due: Whether training ends as far as this process is concerned.
        """
        mine = {"what": what, "due": due, "signum": self._interrupt.signum}
        everything = self._team.end_update(mine)
        self._stop = any(each["due"] for each in everything)
        signum = max(each["signum"] for each in everything)
        self._interrupt.note(signum)
        return [each["what"] for each in everything]


def joined_metrics(metrics: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return metrics of several processes as one: means, but maxima and sums of counts.

    Args:
        metrics: Of each process; what one lacks is 0 there, as a phase that it has not
            entered.
    """
    names = dict.fromkeys(name for each in metrics for name in each)
    joined = {}
    for name in names:
        values = [each.get(name, 0.0) for each in metrics]
        if name.endswith("/max"):
            joined[name] = max(values)
        elif name == "pool/engine_restarts":
            joined[name] = sum(values)
        else:
            joined[name] = sum(values) / len(values)
    return joined
