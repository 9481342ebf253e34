"""Runs the trials of a search: starts their runs, prunes them, reports the results."""

import math
import time
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.text import Text

from jaxfactory._util import plain_json
from jaxfactory._util.errors import UserError
from jaxfactory._util.signals import Interrupt
from jaxfactory.config import runs
from jaxfactory.sweep.search.run_metrics import MetricsTail
from jaxfactory.sweep.search.search_file import Search
from jaxfactory.sweep.search.study import REPORTS, Study
from jaxfactory.sweep.sweep_runs import Child, Children, last_line, log_of
from jaxfactory.sweep.sweep_table import Job


POLL_SECONDS = 0.5
_SIGINT = 2


@dataclass
class RunningTrial:
    """A trial that this process works on.

    Attributes:
        trial: Optuna's trial.
        jobs: Its runs that have not ended, the current one first.
        tail: Metrics of the current run.
        finished: Measurements of the runs that have ended, see `measured`.
        ending: Why the current run was stopped: ``pruned`` or ``reached``; else "".
    """

    trial: Any
    jobs: list[Job]
    tail: MetricsTail
    finished: list[dict[str, float]] = field(default_factory=list)
    ending: str = ""


class SearchRunner:
    """Works on the trials of a study until there are none left."""

    def __init__(
        self, search: Search, study: Study, most: int | None, console: Console
    ):
        """Start nothing yet.

        Args:
            search: The search.
            study: Its study.
            most: How many trials this process works on; None for no limit.
            console: Where events are printed.
        """
        self._search = search
        self._study = study
        self._left = math.inf if most is None else most
        self._console = console
        self._running: dict[int, RunningTrial] = {}
        self.failed = 0

    def run(self, interrupt: Interrupt) -> None:
        """Work on trials until there are none left, or a signal arrives."""
        free = list(range(self._search.sweep.parallel))
        more = True
        with Children() as children:
            while (more or children.running) and not interrupt.signum:
                while more and free:
                    more = self._begin(children, free)
                for child in children.running:
                    self._watch(child)
                for child in list(children.ended()):
                    self._ended(child, children, free)
                if children.running:
                    time.sleep(POLL_SECONDS)
            if interrupt.signum:
                self._say(f"stopping {len(children.running)} runs")
                children.stop()

    def _begin(self, children: Children, free: list[int]) -> bool:
        """Start a trial's first run; return whether there was a trial."""
        trial = self._study.next() if self._left > 0 else None
        if trial is None:
            return False
        self._left -= 1
        params = self._study.params(trial)
        if params is None:
            self._fail(trial, "its process ended before it had parameters")
            return True
        shown = ", ".join(f"{name} {value}" for name, value in params.items())
        try:
            jobs = self._search.jobs(trial.number, params)
        except UserError as error:
            self._fail(trial, str(error))
            return True
        self._say(f"trial {trial.number}: {shown}")
        slot = free.pop(0)
        self._running[slot] = RunningTrial(trial, jobs, MetricsTail(jobs[0].run_dir))
        children.start(Child(self._search.sweep, jobs[0], slot))
        return True

    def _watch(self, child: Child) -> None:
        """Report a run's new metrics, and stop it if it is pruned or has arrived."""
        one, objectives = self._running[child.slot], self._search.objectives
        one.tail.read()
        if one.ending:
            return
        # Another objective than the time would be that of the target.
        arrives = self._search.target is not None and "score" not in objectives
        if arrives and one.tail.reached(self._search.target):
            one.ending = "reached"
        elif self._report(one):
            one.ending = "pruned"
        if one.ending:
            child.send(_SIGINT)

    def _report(self, one: RunningTrial) -> bool:
        """Give Optuna the intermediate raw returns; return whether to prune."""
        if len(self._search.objectives) > 1:
            return False
        done = len(one.finished)
        before = [run["raw_return"] for run in one.finished]
        known = self._study.optuna.get_trials(deepcopy=False)[one.trial.number]
        last = max(known.intermediate_values, default=0)
        sign = -1 if self._search.objectives == ("minutes_to_score",) else 1
        for part, value in one.tail.at_fractions(REPORTS, self._search.total_frames):
            step = done * REPORTS + part
            if step <= last:
                continue
            mean = (sum(before) + value) / (done + 1)
            one.trial.report(sign * mean, step)
            if one.trial.should_prune():
                return True
        return False

    def _ended(self, child: Child, children: Children, free: list[int]) -> None:
        one = self._running[child.slot]
        one.tail.read()
        job = one.jobs[0]
        if child.code and not one.ending:
            free.append(child.slot)
            del self._running[child.slot]
            reason = last_line(log_of(self._search.sweep, job))
            self._fail(one.trial, reason)
            return
        one.finished.append(self._measured(job, one.tail))
        if len(one.jobs) > 1 and one.ending != "pruned":
            one.jobs.pop(0)
            one.tail, one.ending = MetricsTail(one.jobs[0].run_dir), ""
            children.start(Child(self._search.sweep, one.jobs[0], child.slot))
            return
        free.append(child.slot)
        del self._running[child.slot]
        self._tell(one)

    def _measured(self, job: Job, tail: MetricsTail) -> dict[str, float]:
        """Return what a run that has ended is judged by."""
        found = {
            "raw_return": tail.raw_return,
            "score": tail.raw_return,
            "minutes": tail.minutes,
            "frames_per_second": tail.frames / max(60 * tail.minutes, 1e-9),
        }
        if self._search.target is not None:
            found["minutes_to_score"] = tail.minutes_to(self._search.target)
        if self._search.sweep.evaluate and (job.run_dir / runs.EVALUATION).is_file():
            result = plain_json.read_object(job.run_dir / runs.EVALUATION)
            found["score"] = float(result["raw_return"]["mean"])
        return found

    def _tell(self, one: RunningTrial) -> None:
        """Give Optuna a trial's result."""
        from optuna.trial import TrialState

        count = len(one.finished)
        means = {
            name: sum(run[name] for run in one.finished) / count
            for name in one.finished[0]
        }
        finite = {name: x for name, x in means.items() if math.isfinite(x)}
        for name, value in finite.items():
            one.trial.set_user_attr(name, value)
        number = one.trial.number
        wanted = [means[name] for name in self._search.objectives]
        # A run that never reaches the target score has no time to it, but its raw
        # returns are known, by which Optuna orders trials that were pruned.
        missed = self._search.target is not None and not all(map(math.isfinite, wanted))
        if one.ending == "pruned" or missed:
            self._study.optuna.tell(one.trial, state=TrialState.PRUNED)
            how = "pruned" if one.ending else "ended without the target score"
            self._say(f"trial {number} {how}: raw return {means['raw_return']:.2f}")
        elif not all(map(math.isfinite, wanted)):
            self._fail(one.trial, "it has no raw return: no episode ended")
            return
        else:
            self._study.optuna.tell(one.trial, wanted)
            text = ", ".join(
                f"{name.replace('_', ' ')} {value:.4g}"
                for name, value in zip(self._search.objectives, wanted, strict=True)
            )
            self._say(f"trial {number} finished: {text}")
        self._study.release(number)

    def _fail(self, trial: Any, reason: str) -> None:
        from optuna.trial import TrialState

        self.failed += 1
        trial.set_user_attr("failure", reason[:500])
        self._study.optuna.tell(trial, state=TrialState.FAIL)
        self._study.release(trial.number)
        self._say(f"trial {trial.number} failed: {reason}")

    def _say(self, text: str) -> None:
        self._console.print(Text(text), soft_wrap=True)
