"""Where a run's time went: the phases of each thread, and which holds the run back."""

from collections.abc import Mapping

from rich.table import Table


# Leg (its metric is time/<phase>) -> what the thread does meanwhile.
_SAMPLER = {
    "engine_wait": "wait for the engines",
    "transfer": "send observations to the device",
    "act": "compute actions and values",
    "policy_wait": "wait for a policy that is new enough",
}
_LEARNER = {
    "handover_wait": "wait for a rollout",
    "update": "update the parameters",
    "callback": "callbacks",
    "checkpoint": "save",
}
# What is between the phases comes last.
NAMES = {**_SAMPLER, **_LEARNER, "rest": "everything else"}
_REMEDIES = {
    "engine_wait": "the engines; more cores or a smaller --screen-width would help",
    "transfer": "sending observations; smaller or --grayscale ones would help",
    "act": "acting; more environments in a step (--num-envs) or a smaller network "
    "would help",
    "update": "the update; fewer --num-epochs or a smaller network would help",
    "callback": "callbacks of your own",
    "checkpoint": "saving; a larger --checkpoint-minutes would help",
    "rest": "bookkeeping between the phases; more environments in a step (--num-envs) "
    "would help",
}


class TimeBreakdown:
    """Adds up the phases of all iterations but the first few, in which JAX compiles.

    What one thread compiles the other waits for, up to two iterations later.
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
        """Seconds that were added up."""
        return self._wall

    @property
    def threads(self) -> dict[str, dict[str, float]]:
        """Seconds by thread and phase, what is between the phases under "rest"."""
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
        """Return the phases as a table; None before there are any."""
        if not self._wall:
            return None
        table = Table("thread", "phase", title=f"where {self._wall:,.0f} s went")
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

    def verdict(self) -> str:
        """Say in one line which phase holds the run back."""
        threads = self.threads
        if "learner" in threads:
            waits = {
                "sampler": threads["sampler"].get("policy_wait", 0.0),
                "learner": threads["learner"].get("handover_wait", 0.0),
            }
            # Who waits least for the other is the one that the other waits for.
            phases = threads[min(waits, key=lambda thread: waits[thread])]
        else:
            (phases,) = threads.values()
        own = {
            phase: seconds
            for phase, seconds in phases.items()
            if phase not in ("policy_wait", "handover_wait")
        }
        phase = max(own, key=lambda name: own[name])
        return f"held back most by {_REMEDIES[phase]}"
