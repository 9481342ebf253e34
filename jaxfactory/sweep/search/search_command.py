"""``jaxfactory sweep`` with a search: list, batch script, trials, report."""

# ruff: noqa: T201 - the command reports what it does.

import shlex
import signal
from pathlib import Path
from typing import Any

from rich.console import Console

from jaxfactory._util.errors import UserError
from jaxfactory._util.signals import catch_interrupts
from jaxfactory.config import runs
from jaxfactory.report import report
from jaxfactory.sweep import slurm as slurm_script
from jaxfactory.sweep.search import search_page
from jaxfactory.sweep.search.search_file import Search
from jaxfactory.sweep.search.search_runner import SearchRunner
from jaxfactory.sweep.search.search_space import Range
from jaxfactory.sweep.search.study import Study, check_installed
from jaxfactory.sweep.sweep_runs import LOGS, make_folder


PAGE = "search.html"


class SearchInterrupted(KeyboardInterrupt):
    """A signal stopped a search; its runs were saved first.

    Attributes:
        signum: The signal's number.
    """

    def __init__(self, signum: int, search: Search) -> None:
        self.signum = signum
        name = "Ctrl-C" if signum == signal.SIGINT else signal.Signals(signum).name
        super().__init__(
            f"stopped by {name}; the runs are saved; continue the search with: "
            f"jaxfactory {shlex.join(_command(search))}"
        )


def run(
    search: Search,
    *,
    parallel: int | None,
    most: int | None,
    dry_run: bool,
    slurm: bool,
) -> int:
    """Work on a search, or list it, or write its batch script.

    Args:
        search: The search.
        parallel: Parallel runs, instead of the file's.
        most: How many trials this process works on; None for no limit.
        dry_run: Only list the space.
        slurm: Only write the batch script.

    Returns:
        0, or 1 if a trial failed.

    Raises:
        UserError: If Optuna is not installed, or the study cannot be opened.
        SearchInterrupted: On Ctrl-C, SIGTERM or SIGHUP, after every run was saved.
    """
    sweep = search.sweep
    sweep = sweep._replace(parallel=parallel or sweep.parallel)
    search = search._replace(sweep=sweep)
    if dry_run:
        _list(search)
        return 0
    check_installed()
    make_folder(sweep)
    if slurm:
        _write_script(search)
        return 0
    study = Study(search)
    try:
        runner = SearchRunner(search, study, most, Console())
        with catch_interrupts() as interrupt:
            runner.run(interrupt)
        if interrupt.signum:
            raise SearchInterrupted(interrupt.signum, search)
        _report(search, study)
    finally:
        study.close()
    if runner.failed:
        print(f"{runner.failed} trials failed; see {sweep.folder / LOGS}")
    return 1 if runner.failed else 0


def _command(search: Search) -> list[str]:
    output = str(search.sweep.folder)
    return ["sweep", str(search.sweep.path), f"--output={output}"]


def _list(search: Search) -> None:
    print(
        f"{search.trials} trials in {search.sweep.folder}, {search.sweep.parallel} in "
        f"parallel, {search.method}, {' and '.join(search.objectives)}"
    )
    for name, dimension in search.space.items():
        whole = isinstance(dimension, Range)
        text = dimension.describe() if whole else ", ".join(map(str, dimension))
        print(f"  {name}: {text}")


def _write_script(search: Search) -> None:
    """Write a job array in which each task works on one trial."""
    sweep = search.sweep
    folder, path = sweep.folder.resolve(), sweep.path.resolve()
    command = [
        "sweep", str(path), f"--output={folder}", "--max-trials=1", "--parallel=1",
    ]  # fmt: skip
    text = slurm_script.script(
        [[command]] * search.trials,
        name=path.stem,
        parallel=sweep.parallel,
        logs=folder / LOGS,
        directory=Path.cwd(),
        options=sweep.slurm,
    )
    script = sweep.folder / "sweep.sbatch"
    runs.write_atomically(script, text)
    print(
        f"wrote {script} for {search.trials} trials; submit it with: sbatch {script}\n"
        f"and when all are finished: jaxfactory {shlex.join(_command(search))}"
    )


def _report(search: Search, study: Study) -> None:
    folder = search.sweep.folder
    page = folder / PAGE
    runs.write_atomically(page, search_page.render(search, study.optuna))
    begun = sorted(path.parent for path in folder.glob(f"trial=*/{runs.METRICS}"))
    if begun:
        try:
            report.write(begun, folder / "report.html", search.sweep.path.stem)
        except UserError as error:  # A run without metrics.
            print(f"the report was not written: {error}")
    for trial in _best(study.optuna):
        values = ", ".join(f"{value:.4g}" for value in trial.values)
        found = study.params(trial) or {}
        print(f"best: trial {trial.number}, {' and '.join(search.objectives)} {values}")
        print("  " + ", ".join(f"{name} {value}" for name, value in found.items()))
    running = study.count("RUNNING")
    others = f"; others still work on {running} trials" if running else ""
    print(f"report: {page}{others}")


def _best(study: Any) -> list[Any]:
    """Return the best trial, or those that no other is better than in everything."""
    if not any(trial.state.name == "COMPLETE" for trial in study.trials):
        return []
    return study.best_trials[:10]
