"""Writing the metrics of a population: each policy's own, and those of all together."""

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from jaxfactory.config.train import Config
from jaxfactory.metrics.episodes import WINDOW, EpisodeStats
from jaxfactory.metrics.jsonl_writer import JsonlWriter
from jaxfactory.metrics.tensorboard_writer import TensorBoardWriter
from jaxfactory.metrics.writers import CompositeWriter, Writer
from jaxfactory.ppo.learner import TrainState
from jaxfactory.training.nonfinite import NonFinite
from jaxfactory.training.output import fetched
from jaxfactory.training.population.members import Member
from jaxfactory.training.population.spread import Spread
from jaxfactory.training.setup import open_writers


class PopulationOutput:
    """Writes each iteration's metrics during the next one, as `LateOutput` does.

    A policy whose gradient steps are skipped does not end the run as long as another
    one learns: population-based training replaces it.

    Args:
        writer: Of the population's run; writes nothing but in process 0.
        writers: Of the runs of this process's policies.
        watchers: Watch each of these for skipped gradient steps.
        spread: The processes.

    Attributes:
        watchers: As given.
        failed: Whether an error ends this process; the others do not know yet.
    """

    def __init__(
        self,
        writer: CompositeWriter,
        writers: Sequence[CompositeWriter],
        watchers: Sequence[NonFinite],
        spread: Spread,
    ) -> None:
        self._spread = spread
        self._writer = writer
        self._writers = writers
        self.watchers = watchers
        self._pending: tuple[Any, ...] | None = None
        self.failed = False

    @property
    def stopped(self) -> bool:
        """Whether none of this process's policies learns any more."""
        return all(watcher.stopped for watcher in self.watchers)

    @property
    def left(self) -> bool:
        """Whether nobody reads the output any more."""
        return self._writer.left

    def write(
        self,
        losses: Sequence[Mapping[str, Any]],
        each: Sequence[Mapping[str, float]],
        together: Mapping[str, float],
        frames: int,
    ) -> None:
        """Write the previous iteration's metrics; keep these until the next call.

        Args:
            losses: Device scalars of the update of each of this process's policies.
            each: Their other metrics.
            together: The metrics of the population.
            frames: Frames of each policy so far.
        """
        self.flush()
        self._pending = (losses, each, together, frames)

    def note(self, text: str) -> None:
        """Show a one-line message."""
        self._writer.note(text)

    def flush(self) -> None:
        """Write the last iteration's metrics; all processes call this together.

        After an error in this process, those of its policies alone.
        """
        if self._pending is None:
            return
        losses, each, together, frames = self._pending
        self._pending = None
        mine = []
        for index, raw in enumerate(losses):
            values = jax.device_get(dict(raw))
            note = self.watchers[index].check(values, frames)
            values = fetched(values)
            mine.append((values, note))
            self._writers[index].write({**values, **each[index]}, frames)
        if self.failed:
            return
        columns = []
        for number, (values, note) in enumerate(self._spread.everyone(mine)):
            columns.append(values)
            if note:
                self.note(f"policy {number}: {note}")
        mean = {
            name: sum(column[name] for column in columns) / len(columns)
            for name in columns[0]
        }
        self._writer.write({**mean, **together}, frames)


def open_output(
    config: Config,
    run_dir: Path,
    members: Sequence[Member],
    states: Sequence[TrainState],
    writer: Writer | None,
    stack: contextlib.ExitStack,
    spread: Spread,
) -> PopulationOutput:
    """Open the writers of the run and of each of this process's policies."""
    folders = [members[number].run_dir for number in spread.numbers]
    opened = [
        open_writers(config, run_dir, writer, writes=spread.writes),
        *(CompositeWriter(JsonlWriter(f), TensorBoardWriter(f)) for f in folders),
    ]
    for each in opened:
        stack.enter_context(each)
        each.begin(states[0].frames)
    steps = config.ppo.num_epochs * config.ppo.num_minibatches
    norm = config.ppo.max_grad_norm
    watchers = [NonFinite(state.params, steps, norm) for state in states]
    return PopulationOutput(opened[0], opened[1:], watchers, spread)


def of_all(members: Sequence[Member], objective: str) -> dict[str, float]:
    """Return the metrics of a population's episodes, those of each policy among them.

    Args:
        members: The policies.
        objective: What they are ranked by.
    """
    states = [member.progress.episodes.state() for member in members]
    pooled = EpisodeStats(window=WINDOW * len(members))
    rows = [row for state in states for row in state["rows"]]
    pooled.load({"total": sum(state["total"] for state in states), "rows": rows})
    metrics = pooled.metrics()
    for member in members:
        score = member.score(objective)
        if score == score:  # Not NaN.
            metrics[f"policy_{member.number}/{objective}"] = score
    best = best_of(members, objective)
    if (name := f"policy_{best}/{objective}") in metrics:
        metrics["population/best_policy"] = float(best)
        metrics[f"population/best_{objective}"] = metrics[name]
    return metrics


def best_of(members: Sequence[Member], objective: str) -> int:
    """Return the number of the policy with the highest objective, the first of equals.

    Args:
        members: The policies. Those without any episode come last.
        objective: What they are ranked by.
    """
    scores = [member.score(objective) for member in members]
    ranks = [score if score == score else -float("inf") for score in scores]
    return ranks.index(max(ranks))
