"""The time breakdown of a run: seconds per phase of each thread, and the bottleneck."""

from collections.abc import Mapping

from rich.table import Table


# Phase (its metric is time/<phase>) -> description.
_SAMPLER = {
    "engine_wait": "wait for the engines",
    "transfer": "send observations to the device",
    "act": "compute actions and values",
    "policy_wait": "wait for a newer policy",
}
_LEARNER = {
    "handover_wait": "wait for a rollout",
    "update": "update the parameters",
    "callback": "callbacks",
    "checkpoint": "save checkpoints",
}
# The time between the phases comes last.
NAMES = {**_SAMPLER, **_LEARNER, "rest": "everything else"}
_REMEDIES = {
    "engine_wait": "the engines (use more cores or a smaller --screen-width)",
    "transfer": "sending observations (use smaller ones, or --grayscale)",
    "act": "computing actions (use a smaller network, or more environments per step "
    "with --num-envs)",
    "update": "the update (use fewer --num-epochs or a smaller network)",
    "callback": "your callbacks",
    "checkpoint": "saving checkpoints (use a larger --checkpoint-minutes)",
    "rest": "overhead between the phases (use more environments per step with "
    "--num-envs)",
}


class TimeBreakdown:
    """Sums the phases over all iterations but the first few, in which JAX compiles.

    While one thread compiles the other waits, up to two iterations later.
    """

    SKIPPED = 3

    def __init__(self) -> None:
        self._skip = self.SKIPPED
        self._seconds: dict[str, float] = {}
        self._wall = 0.0
        self._last: float | None = None

    def add(self, metrics: Mapping[str, float]) -> None:
        """Add one iteration's metrics (`time/<phase>` and `time/wall_clock`)."""
        now = metrics.get("time/wall_clock")
        if now is None:
            return
        if self._skip:
            self._skip -= 1
        elif self._last is not None:
            self._wall += now - self._last
            for phase in (*_SAMPLER, *_LEARNER):
                seconds = metrics.get(f"time/{phase}", 0.0)
                self._seconds[phase] = self._seconds.get(phase, 0.0) + seconds
        self._last = now

    @property
    def seconds(self) -> float:
        """Wall-clock seconds of the iterations that were added."""
        return self._wall

    @property
    def threads(self) -> dict[str, dict[str, float]]:
        """Seconds per thread and phase; "rest" is the time between the phases."""
        if self._seconds.get("handover_wait"):
            threads = {"sampler": [*_SAMPLER], "learner": [*_LEARNER]}
        else:
            threads = {"sampler and learner": [*_SAMPLER, *_LEARNER]}
        result = {}
        for thread, phases in threads.items():
            seconds = {phase: self._seconds.get(phase, 0.0) for phase in phases}
            seconds = {phase: value for phase, value in seconds.items() if value}
            seconds["rest"] = max(0.0, self._wall - sum(seconds.values()))
            result[thread] = seconds
        return result

    def table(self) -> Table | None:
        """Return the time breakdown as a table; None before there are any data."""
        if not self._wall:
            return None
        table = Table("thread", "phase", title=f"time breakdown of {self._wall:,.0f} s")
        table.add_column("seconds", justify="right")
        table.add_column("share", justify="right")
        for thread, phases in self.threads.items():
            for index, (phase, seconds) in enumerate(phases.items()):
                share = seconds / self._wall
                table.add_row(
                    "" if index else thread,
                    NAMES[phase],
                    f"{seconds:,.1f}",
                    f"{share:.0%}",
                    end_section=index == len(phases) - 1,
                )
        return table

    def bottleneck(self) -> str:
        """Return one line that names the bottleneck and a remedy."""
        threads = self.threads
        if "learner" in threads:
            waits = {
                "sampler": threads["sampler"].get("policy_wait", 0.0),
                "learner": threads["learner"].get("handover_wait", 0.0),
            }
            # The thread that waits less for the other is the slower one.
            phases = threads[min(waits, key=lambda thread: waits[thread])]
        else:
            (phases,) = threads.values()
        work = {
            phase: seconds
            for phase, seconds in phases.items()
            if phase not in ("policy_wait", "handover_wait")
        }
        phase = max(work, key=lambda name: work[name])
        return f"bottleneck: {_REMEDIES[phase]}"
