"""Which of a run's states are kept, and what training goes on from."""

import fcntl
import os
import shutil
import time
import warnings
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

from jaxfactory._util.errors import UserError
from jaxfactory.checkpoints.checkpoint_files import (
    KEPT,
    SCRATCH,
    State,
    named_arrays,
    read_host,
    read_state,
    why,
    write_arrays,
)
from jaxfactory.config import runs
from jaxfactory.config.train import Config
from jaxfactory.metrics.episodes import EpisodeStats


@runtime_checkable
class Counted(Protocol):
    """A state that knows how many frames it was trained for."""

    @property
    def frames(self) -> int:
        """Frames."""


# Seconds between looks at whether the state is the best so far.
BEST_SECONDS = 15.0
# Where the states lie that are being watched, beside "latest" and "best".
WATCHED = "watched"


class SavedRun(NamedTuple):
    """A checkpoint on disk and the settings it was trained with.

    Attributes:
        config: The run's settings.
        path: The checkpoint's directory.
        frames: Frames it was trained for.
    """

    config: Config
    path: Path
    frames: int

    def leaves(self) -> dict[str, str]:
        """Return shape and type of every array of it, as in ``"float32[3,4]"``.

        Raises:
            UserError: If its description cannot be read.
        """
        try:
            return read_host(self.path)["leaves"]
        except (OSError, ValueError) as error:
            raise self._damaged(error) from error

    def restore(self, target: State) -> State:
        """Return the saved state in the structure of ``target``.

        Args:
            target: A freshly initialised state of the same network.

        Raises:
            UserError: If it is damaged, or another network's.
        """
        try:
            return read_state(self.path, target)
        except UserError:
            raise
        except Exception as error:  # Orbax raises many kinds on damaged files.
            raise self._damaged(error) from error

    def _damaged(self, error: Exception) -> UserError:
        if isinstance(error, UserError):
            return error
        other = "latest" if self.path.parent.name == "best" else "best"
        return UserError(
            f"the checkpoint {self.path} is damaged ({why(error)}); "
            f"--checkpoint {other} may be whole"
        )


def load_for_evaluation(run_dir: Path, kind: str = "latest") -> SavedRun:
    """Find a run's checkpoint; its arrays are read by ``SavedRun.restore``.

    Args:
        run_dir: The run.
        kind: ``"latest"`` or ``"best"``; the latest too where there is no best yet.

    Raises:
        UserError: If the directory is no run or has no checkpoint.
    """
    config = runs.load_config(run_dir)
    saved = runs.checkpoint_dirs(run_dir, kind)
    if not saved and kind == "best":
        # None is kept before 100 episodes have ended.
        saved = runs.checkpoint_dirs(run_dir, "latest")
    if not saved:
        raise UserError(
            f"the run {run_dir} has no {kind} checkpoint: train it first with "
            f"`jaxfactory train --run {run_dir}`"
        )
    return SavedRun(config, saved[-1], int(saved[-1].name))


class Checkpointer:
    """Saves and restores one run; a context manager that holds the run's lock.

    ``maybe_save`` copies the state and writes it on a thread of its own, while training
    goes on; leaving waits for it.

    Args:
        run_dir: The run's directory; made if it does not exist.
        config: The run's settings.
        clock: Returns seconds; decides when ``maybe_save`` saves.

    Raises:
        UserError: On entering, if the directory cannot be used for this run.
    """

    def __init__(
        self,
        run_dir: Path,
        config: Config,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.run_dir = Path(run_dir)
        # Wall-clock seconds of the sessions before this one.
        self.seconds = 0.0
        self._config = config
        self._clock = clock
        self._last_save = self._last_look = clock()
        self._saved_frames = -1
        self._best = -np.inf
        self._lock: IO[str] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._writing: Future[None] | None = None

    def __enter__(self) -> "Checkpointer":
        runs.open_run(self.run_dir, self._config)
        self._folder = self.run_dir / runs.CHECKPOINTS
        self._folder.mkdir(exist_ok=True)
        self._lock = _take_lock(self.run_dir / runs.LOCK)
        # What a process left that was killed while it saved.
        shutil.rmtree(self._folder / SCRATCH, ignore_errors=True)
        shutil.rmtree(self._folder / WATCHED, ignore_errors=True)
        self._last_save = self._clock()
        return self

    def __exit__(self, *exception: object) -> None:
        try:
            self._finish()
        finally:
            self._thread.shutdown()
            shutil.rmtree(self._folder / WATCHED, ignore_errors=True)
            if self._lock is not None:
                self._lock.close()
                self._lock = None

    @property
    def saved_frames(self) -> int:
        """Frames of the newest checkpoint on disk; 0 in a new run."""
        saved = runs.checkpoint_dirs(self.run_dir, "latest")
        return int(saved[-1].name) if saved else 0

    def restore_or(self, state: State, stats: EpisodeStats | None = None) -> State:
        """Return the newest saved state, or ``state`` in a new run.

        If the newest checkpoint cannot be read, the one before it is taken, with a
        warning. Afterwards ``seconds`` is the checkpoint's.

        Args:
            state: The initial state, which also gives structure, shapes and types.
            stats: Takes over the saved window of episodes.

        Raises:
            UserError: If the checkpoint holds another network's state, or none of
                the run's checkpoints can be read.
        """
        saved = runs.checkpoint_dirs(self.run_dir, "latest")
        for path in reversed(saved):
            try:
                host = read_host(path)
                restored = read_state(path, state)
            except UserError:
                raise
            except Exception as error:  # Orbax raises many kinds on damaged files.
                warnings.warn(
                    f"the checkpoint {path} cannot be read ({why(error)}); "
                    "the one before it is tried",
                    stacklevel=2,
                )
                continue
            self._saved_frames = int(host["frames"])
            self.seconds = float(host["seconds"])
            same = host.get("best_by", "training") == self._config.watch.best_by
            if same and host["best"] is not None:
                self._best = float(host["best"])
            if stats is not None:
                stats.load(host["episodes"])
            return restored
        if saved:
            raise UserError(
                f"no checkpoint of the run {self.run_dir} can be read; "
                "give --run a new directory"
            )
        return state

    def maybe_save(self, state: Counted, stats: EpisodeStats, seconds: float) -> bool:
        """Save if the configured minutes have passed; return whether it did.

        The best state is looked for more often than the latest is saved.
        """
        now = self._clock()
        if now - self._last_save >= 60 * self._config.checkpoint_minutes:
            self._save(state, stats, seconds)
            return True
        if now - self._last_look >= BEST_SECONDS:
            self._keep_best(state, stats, seconds)
        return False

    def save(self, state: Counted, stats: EpisodeStats, seconds: float) -> None:
        """Save before returning; keep the state as the best if its mean return is.

        Args:
            state: A pytree of arrays, typed random keys and Python numbers; its
                ``frames`` name the checkpoint.
            stats: The window of episodes; only a full one can be the best.
            seconds: Wall-clock seconds of training so far.
        """
        self._save(state, stats, seconds)
        self._finish()

    def save_temporary(
        self, state: Counted, stats: EpisodeStats, seconds: float
    ) -> "Future[None]":
        """Write the state where it can be watched, while training goes on.

        Returns:
            What is done when it lies at `watched`.
        """
        host = self._host(state, stats, seconds)
        return self._commit(state, host, WATCHED, kept=1)

    def watched(self, frames: int) -> Path:
        """Return where the state of some frames is set aside."""
        return self._folder / WATCHED / f"{frames:012d}"

    def forget(self, frames: int) -> None:
        """Remove what was set aside."""
        shutil.rmtree(self.watched(frames), ignore_errors=True)

    def keep_if_best(self, frames: int, score: float) -> bool:
        """Make what was set aside the best checkpoint if its score is the best."""
        if score <= self._best:
            return False
        self._finish()
        self._best = score
        best = self._folder / "best"
        best.mkdir(exist_ok=True)
        others = runs.checkpoint_dirs(self.run_dir, "best")
        final = best / f"{frames:012d}"
        if final in others:
            shutil.rmtree(final)
        self.watched(frames).rename(final)
        for path in others:
            if path != final:
                shutil.rmtree(path)
        return True

    def _save(self, state: Counted, stats: EpisodeStats, seconds: float) -> None:
        self._keep_best(state, stats, seconds)
        frames = int(state.frames)
        if frames != self._saved_frames:
            self._commit(state, self._host(state, stats, seconds), "latest", kept=KEPT)
            self._saved_frames = frames
        self._last_save = self._clock()

    def _keep_best(self, state: Counted, stats: EpisodeStats, seconds: float) -> None:
        score = stats.summary("shaped_return").mean
        by_training = self._config.watch.best_by == "training"
        if by_training and stats.full and score > self._best:
            self._best = score
            self._commit(state, self._host(state, stats, seconds), "best", kept=1)
        self._last_look = self._clock()

    def _host(
        self, state: Counted, stats: EpisodeStats, seconds: float
    ) -> dict[str, Any]:
        return {
            "frames": int(state.frames),
            "seconds": seconds,
            "best": None if self._best == -np.inf else self._best,
            "best_by": self._config.watch.best_by,
            "episodes": stats.state(),
        }

    def _commit(
        self, state: Any, host: dict[str, Any], kind: str, kept: int
    ) -> "Future[None]":
        self._finish()
        # Copies: the next update may write to the state's own memory.
        arrays = {name: np.array(leaf) for name, leaf in named_arrays(state).items()}
        self._writing = self._thread.submit(self._write, arrays, host, kind, kept)
        return self._writing

    def _finish(self) -> None:
        """Wait for what is being written; raise what went wrong."""
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()

    def _write(
        self, arrays: dict[str, np.ndarray], host: dict[str, Any], kind: str, kept: int
    ) -> None:
        write_arrays(self.run_dir, kind, arrays, host, kept=kept)


def _take_lock(path: Path) -> IO[str]:
    # Nothing is written or cut off: a link in a directory that was handed over does no
    # harm to what it leads to, and a FIFO is not waited for.
    flags = os.O_RDWR | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC
    lock = os.fdopen(os.open(path, flags, 0o644), "w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.close()
        raise UserError(
            f"another process is training in {path.parent}; "
            "wait for it or give --run another directory"
        ) from error
    return lock
