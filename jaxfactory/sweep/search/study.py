"""A search's Optuna study: opened by any number of processes on any machines.

Optuna stores trials; locks in the sweep's folder show which of them a process works on.
A trial that no process works on, because its machine failed or the search was stopped,
is continued by the next process that looks for one: its runs resume.
"""

import contextlib
import fcntl
import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from jaxfactory._util.errors import UserError, require
from jaxfactory.sweep.search.search_file import OBJECTIVES, Search
from jaxfactory.sweep.search.search_space import Range
from jaxfactory.sweep.sweep_table import Value


JOURNAL, SQLITE = "study.journal", "study.db"
# Intermediate values of each run: pruners compare trials at the same ones.
REPORTS = 20
_OWNERS = "owners"
_SETTINGS = "jaxfactory"


def check_installed() -> None:
    """Refuse to search without Optuna.

    Raises:
        UserError: If it is not installed.
    """
    for module in ("optuna", "plotly", "sklearn"):
        require(module, extra="sweep", what="search in a sweep's file")


class Study:
    """The study of a search.

    Attributes:
        optuna: Optuna's own study.
    """

    def __init__(self, search: Search):
        """Create the study, or open the one in the sweep's folder.

        Args:
            search: The search.

        Raises:
            UserError: If it cannot be opened, or is another search's.
        """
        self._search = search
        self._folder = search.sweep.folder
        (self._folder / _OWNERS).mkdir(parents=True, exist_ok=True)
        self._held: dict[int, IO[bytes]] = {}
        with contextlib.ExitStack() as opened, self._locked():
            self.optuna = _open(search, opened)
            self._check_settings()
            self._opened = opened.pop_all()

    def next(self) -> Any:
        """Return a trial to work on, with its parameters; None if there is none left.

        It is the first that nobody works on, or else a new one.
        """
        with self._locked():
            trials = self.optuna.get_trials(deepcopy=False)
            for frozen in trials:
                if frozen.state.name == "RUNNING" and self._own(frozen.number):
                    # Whoever worked on it may have ended it since it was read.
                    if self._is_running(frozen.number):
                        return self._adopted(frozen)
                    self.release(frozen.number)
            if sum(trial.state.name != "WAITING" for trial in trials) >= (
                self._search.trials
            ):
                return None
            trial = self.optuna.ask()
            # Each trial has its own random numbers, whichever process asks for it.
            self.optuna.sampler = _sampler(self._search, trial.number)
            self._own(trial.number)
            for name, dimension in self._search.space.items():
                _suggest(trial, name, dimension)
            return trial

    def params(self, trial: Any) -> dict[str, Value] | None:
        """Return a trial's options; None if its process ended before it had them."""
        found = trial.params
        if found.keys() != self._search.space.keys():
            return None
        return {
            name: found[name]
            if isinstance(dimension, Range)
            else _by_label(dimension)[found[name]]
            for name, dimension in self._search.space.items()
        }

    def release(self, number: int) -> None:
        """Stop working on a trial."""
        self._held.pop(number).close()

    def close(self) -> None:
        """Stop working on all trials; those without a result can be continued."""
        for number in list(self._held):
            self.release(number)
        self._opened.close()

    def count(self, *states: str) -> int:
        """Return the number of trials in some states."""
        trials = self.optuna.get_trials(deepcopy=False)
        return sum(trial.state.name in states for trial in trials)

    def _is_running(self, number: int) -> bool:
        state = self.optuna.get_trials(deepcopy=False)[number].state
        return state.name == "RUNNING"

    def _adopted(self, frozen: Any) -> Any:
        import optuna

        return optuna.trial.Trial(self.optuna, frozen._trial_id)

    def _own(self, number: int) -> bool:
        if number in self._held:
            return False
        file = (self._folder / _OWNERS / str(number)).open("ab")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return False
        self._held[number] = file
        return True

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Let one process at a time ask for a trial."""
        with (self._folder / _OWNERS / "lock").open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _check_settings(self) -> None:
        search = self._search
        wanted = json.dumps(
            {
                "command": search.command,
                "space": {name: list(x) for name, x in search.space.items()},
                "objectives": search.objectives,
                "target": search.target,
                "seeds": search.seeds,
                "evaluate": search.sweep.evaluate,
            },
            sort_keys=True,
        )
        there = self.optuna.user_attrs.get(_SETTINGS)
        if there is None:
            self.optuna.set_user_attr(_SETTINGS, wanted)
        elif there != wanted:
            raise UserError(
                f"the study in {self._folder} is of another command, space, objective "
                "or seeds; rename the sweep's file, or give --output another directory"
            )


def _open(search: Search, opened: contextlib.ExitStack) -> Any:
    """Return Optuna's study; what closes its storage is added to `opened`."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    place: Path | str = search.storage
    directions = [
        "maximize" if OBJECTIVES[x] else "minimize" for x in search.objectives
    ]
    try:
        if search.storage == "journal":
            place = search.sweep.folder / JOURNAL
            backend = optuna.storages.journal.JournalFileBackend(str(place))
            storage: Any = optuna.storages.JournalStorage(backend)
        else:
            url = search.storage
            if url == "sqlite":
                place = search.sweep.folder / SQLITE
                url = f"sqlite:///{place.absolute()}"
            storage = optuna.storages.RDBStorage(url)
            opened.callback(storage.engine.dispose)
            opened.callback(storage.remove_session)
        study = optuna.create_study(
            storage=storage,
            sampler=_sampler(search, 0),
            pruner=_pruner(search),
            study_name=search.sweep.path.stem,
            directions=directions,
            load_if_exists=True,
        )
    except UserError:
        raise
    except Exception as error:  # Databases and damaged files raise many kinds.
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        shown = place if isinstance(place, Path) else place.partition("://")[0]
        raise UserError(
            f"the study {shown} cannot be opened ({reason[:200]}); check storage, or "
            "give --output another directory"
        ) from error
    if [direction.name.lower() for direction in study.directions] != directions:
        raise UserError(
            f"the study in {search.sweep.folder} has other objectives; rename the "
            "sweep's file, or give --output another directory"
        )
    return study


def _sampler(search: Search, trial: int) -> Any:
    from optuna import samplers

    if search.method == "grid":
        points = {
            name: dimension.values()
            if isinstance(dimension, Range)
            else list(_by_label(dimension))
            for name, dimension in search.space.items()
        }

        class Grid(samplers.GridSampler):
            def after_trial(self, *args: Any) -> None:
                # After the last point it stops the study, which only Optuna's own
                # loop knows how to do.
                with contextlib.suppress(RuntimeError):
                    super().after_trial(*args)

        return Grid(points, seed=search.seed)
    seed = (search.seed + 1_000_003 * trial) % 2**32
    if search.method == "random":
        return samplers.RandomSampler(seed=seed)
    return samplers.TPESampler(seed=seed)


def _pruner(search: Search) -> Any:
    from optuna import pruners

    first = max(1, -(-search.prune_after * REPORTS // search.total_frames))
    last = REPORTS * len(search.seeds)
    if search.pruner == "median":
        return pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=first)
    if search.pruner == "halving":
        return pruners.SuccessiveHalvingPruner(min_resource=first)
    if search.pruner == "hyperband":
        return pruners.HyperbandPruner(min_resource=min(first, last), max_resource=last)
    return pruners.NopPruner()


def _suggest(trial: Any, name: str, dimension: Any) -> None:
    if not isinstance(dimension, Range):
        trial.suggest_categorical(name, list(_by_label(dimension)))
    elif dimension.whole:
        trial.suggest_int(
            name, dimension.low, dimension.high, log=dimension.log,
            step=dimension.step or 1,
        )  # fmt: skip
    else:
        trial.suggest_float(
            name, dimension.low, dimension.high, log=dimension.log, step=dimension.step
        )


def _by_label(choices: tuple[Value, ...]) -> dict[Any, Value]:
    """Return choices by what Optuna stores for them, which lists cannot be."""
    return {json.dumps(x) if isinstance(x, list) else x: x for x in choices}
