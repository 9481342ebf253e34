"""``jaxfactory sweep``: trains many runs from one file, each in its own process.

Finished runs are skipped and unfinished ones resume, so repeating the command resumes
an interrupted sweep.
"""

# ruff: noqa: T201 - the command reports what it does.

import shlex
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, NamedTuple

import tyro
from rich.console import Console

from jaxfactory._util.errors import UserError
from jaxfactory._util.signals import catch_interrupts
from jaxfactory.config import runs
from jaxfactory.report import report
from jaxfactory.sweep import slurm, sweep_file
from jaxfactory.sweep.search import search_command, search_file
from jaxfactory.sweep.sweep_display import SweepDisplay
from jaxfactory.sweep.sweep_runs import (
    LOGS,
    Child,
    Children,
    commands,
    is_finished,
    last_line,
    last_metrics,
    log_of,
    make_folder,
    progress,
    score,
)
from jaxfactory.sweep.sweep_table import Job, Sweep


_POLL_SECONDS = 0.5


@dataclass(frozen=True, kw_only=True)
class SweepOptions:
    """Train one run for each combination of options and seeds in a TOML file.

    Finished runs are skipped and unfinished ones resume. A report is written at the
    end. A file with search = "tpe", "random" or "grid" searches a space of options with
    Optuna; the same command on other machines works on the same search.
    """

    file: Annotated[Path | None, tyro.conf.Positional] = None
    """TOML file with a [sweep] table (command, grid, list, seeds, parallel, ...)."""
    output: Path | None = None
    """Directory of the runs; by default runs/sweeps/<name of the file>."""
    parallel: int | None = None
    """Number of parallel runs; overrides the file."""
    max_trials: int | None = None
    """In a search: work on at most this many trials, and leave the rest to others."""
    dry_run: bool = False
    """List the runs without starting them."""
    slurm: bool = False
    """Write a batch script for a Slurm job array instead of training."""

    def __post_init__(self) -> None:
        if self.parallel is not None and self.parallel < 1:
            raise UserError(f"--parallel {self.parallel} must be 1 or more")
        if self.max_trials is not None and self.max_trials < 1:
            raise UserError(f"--max-trials {self.max_trials} must be 1 or more")


class SweepInterrupted(KeyboardInterrupt):
    """A signal stopped a sweep; its runs were saved first.

    Attributes:
        signum: The signal's number.
    """

    def __init__(self, signum: int, sweep: Sweep, done: int) -> None:
        self.signum = signum
        name = "Ctrl-C" if signum == signal.SIGINT else signal.Signals(signum).name
        folder = (
            ""
            if sweep.folder == runs.ROOT / "sweeps" / sweep.path.stem
            else (f" --output {shlex.quote(str(sweep.folder))}")
        )
        super().__init__(
            f"stopped by {name}; {done} of {len(sweep.jobs)} runs are finished, the "
            "others are saved; resume with: "
            f"jaxfactory sweep {shlex.quote(str(sweep.path))}{folder}"
        )


class Failure(NamedTuple):
    """A run that ended with an error.

    Attributes:
        reason: The last line of its log.
    """

    job: Job
    code: int
    reason: str


def run(options: SweepOptions) -> int:
    """Run the command and return the exit code.

    Returns:
        0, or 1 if a run failed.

    Raises:
        UserError: If the file or a run in it is invalid.
        SweepInterrupted: On Ctrl-C, SIGTERM or SIGHUP, after every run was saved.
    """
    if options.file is None:
        raise UserError("sweep needs a file: jaxfactory sweep FILE.toml")
    if search_file.is_search(options.file):
        return search_command.run(
            search_file.read(options.file, options.output),
            parallel=options.parallel,
            most=options.max_trials,
            dry_run=options.dry_run,
            slurm=options.slurm,
        )
    if options.max_trials is not None:
        raise UserError(
            f"--max-trials {options.max_trials} is for searches, and {options.file} "
            "has no search; leave it out"
        )
    sweep = sweep_file.read(options.file, options.output)
    sweep = sweep._replace(parallel=options.parallel or sweep.parallel)
    if options.dry_run:
        _list(sweep)
        return 0
    if options.slurm:
        _write_script(sweep)
        return 0
    make_folder(sweep)
    failures = train_all(sweep)
    _report(sweep)
    for failure in failures:
        print(
            f"failed: {failure.job.name} (exit code {failure.code}): {failure.reason}; "
            f"see {log_of(sweep, failure.job)}"
        )
    if failures:
        print(f"{len(failures)} of {len(sweep.jobs)} runs failed")
    return 1 if failures else 0


def train_all(sweep: Sweep, console: Console | None = None) -> list[Failure]:
    """Train the unfinished runs, some in parallel, and return the failures.

    Raises:
        SweepInterrupted: On a signal, after every run was saved.
    """
    failures: list[Failure] = []
    todo = [job for job in sweep.jobs if not is_finished(sweep, job)]
    with (
        catch_interrupts() as interrupt,
        SweepDisplay(sweep, console or Console()) as display,
        Children() as children,
    ):
        skipped = len(sweep.jobs) - len(todo)
        if skipped:
            display.say(f"{skipped} of {len(sweep.jobs)} runs are already finished")
        waiting = list(todo)
        free = list(range(sweep.parallel))
        while (waiting or children.running) and not interrupt.signum:
            while waiting and free:
                job = waiting.pop(0)
                display.say(f"started {job.name} (log: {log_of(sweep, job)})")
                children.start(Child(sweep, job, free.pop(0)))
            for child in children.ended():
                free.append(child.slot)
                if child.code:
                    reason = last_line(log_of(sweep, child.job))
                    failures.append(Failure(child.job, child.code, reason))
                    display.say(f"failed {child.job.name}: {reason}")
                else:
                    display.say(f"finished {child.job.name}{score(child.job)}")
            display.show([child.job for child in children.running], len(failures))
            time.sleep(_POLL_SECONDS)
        if interrupt.signum:
            running = len(children.running)
            display.say(f"stopping {running} runs; Ctrl-C again kills them")
            children.stop()
    if interrupt.signum:
        done = sum(is_finished(sweep, job) for job in sweep.jobs)
        raise SweepInterrupted(interrupt.signum, sweep, done)
    return failures


def _list(sweep: Sweep) -> None:
    print(f"{len(sweep.jobs)} runs in {sweep.folder}, {sweep.parallel} in parallel")
    for job in sweep.jobs:
        state = "finished" if is_finished(sweep, job) else f"{progress(job):.0%}"
        print(f"{state:>8}  {job.name}")
        for step in commands(sweep, job):
            print(f"          jaxfactory {shlex.join(step)}")


def _write_script(sweep: Sweep) -> None:
    todo = [job for job in sweep.jobs if not is_finished(sweep, job)]
    if not todo:
        print(f"all {len(sweep.jobs)} runs are finished")
        return
    folder = sweep.folder.resolve()
    text = slurm.script(
        [commands(sweep, job) for job in todo],
        name=sweep.path.stem,
        parallel=sweep.parallel,
        logs=folder / LOGS,
        directory=Path.cwd(),
        options=sweep.slurm,
    )
    path = sweep.folder / "sweep.sbatch"
    make_folder(sweep)
    runs.write_atomically(path, text)
    print(
        f"wrote {path} for {len(todo)} runs; submit it with: sbatch {path}\n"
        f"and when all runs are finished: jaxfactory report {sweep.folder}"
    )


def _report(sweep: Sweep) -> None:
    begun = [job.run_dir for job in sweep.jobs if last_metrics(job)]
    if begun:
        page = sweep.folder / "report.html"
        try:
            report.write(begun, page, sweep.path.stem)
        except UserError as error:  # Failed runs are still reported.
            print(f"the report was not written: {error}")
        else:
            print(f"report: {page}")
