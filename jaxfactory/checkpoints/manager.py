"""Saving a training run and resuming it: which checkpoints are kept."""

import fcntl
import os
import shutil
import time
import warnings
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any, Protocol, runtime_checkable

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
from jaxfactory.metrics.progress import Progress


@runtime_checkable
class Counted(Protocol):
    """A training state; its frames name its checkpoint."""

    @property
    def frames(self) -> int:
        """Frames it was trained for."""


# Seconds between checks whether the state is the best so far.
BEST_SECONDS = 15.0
# Checkpoints for background evaluation, beside "latest" and "best".
TEMPORARY = "temporary"


class Checkpointer:
    """Saves and restores one run; a context manager that holds the run's lock.

    ``maybe_save`` copies the state and writes it on another thread while training
    continues; leaving the context waits for that.

    Args:
        run_dir: The run's directory; created if it does not exist.
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
        self._config = config
        self._clock = clock
        self._last_save = self._last_check = clock()
        self._saved_frames = -1
        self._best = -np.inf
        # Number of multiples of --keep-every that training has passed.
        self._milestone = 0
        self._lock: IO[str] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._writing: Future[None] | None = None

    def __enter__(self) -> "Checkpointer":
        runs.open_run(self.run_dir, self._config)
        self._folder = self.run_dir / runs.CHECKPOINTS
        self._folder.mkdir(exist_ok=True)
        self._lock = _take_lock(self.run_dir / runs.LOCK)
        # Left behind by a process that was killed while saving.
        shutil.rmtree(self._folder / SCRATCH, ignore_errors=True)
        shutil.rmtree(self._folder / TEMPORARY, ignore_errors=True)
        self._last_save = self._clock()
        return self

    def __exit__(self, *exception: object) -> None:
        try:
            self._finish()
        finally:
            self._thread.shutdown()
            shutil.rmtree(self._folder / TEMPORARY, ignore_errors=True)
            if self._lock is not None:
                self._lock.close()
                self._lock = None

    @property
    def saved_frames(self) -> int:
        """Frames of the newest checkpoint on disk; 0 in a new run."""
        saved = runs.checkpoint_dirs(self.run_dir, "latest")
        return int(saved[-1].name) if saved else 0

    def restore_or(self, state: State, progress: Progress | None = None) -> State:
        """Return the newest saved state, or ``state`` in a new run.

        If the newest checkpoint cannot be read, the one before it is restored, with a
        warning.

        Args:
            state: The initial state, which also gives structure, shapes and types.
            progress: Restored from the same checkpoint.

        Raises:
            UserError: If the checkpoint is of another network, or none of the run's
                checkpoints can be read.
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
                    "trying the one before it",
                    stacklevel=2,
                )
                continue
            self._saved_frames = int(host["frames"])
            self._milestone = self._milestone_at(self._saved_frames)
            same = host.get("best_by", "training") == self._config.watch.best_by
            if same and host["best"] is not None:
                self._best = float(host["best"])
            if progress is not None:
                progress.resume(host)
            return restored
        if saved:
            raise UserError(
                f"no checkpoint of the run {self.run_dir} can be read; "
                "give --run a new directory"
            )
        return state

    def maybe_save(self, state: Counted, progress: Progress) -> bool:
        """Save if the configured minutes have passed; return whether it saved.

        Whether the state is the best so far is checked more often than that, and
        whether it is one to keep each time.
        """
        self._keep_milestone(state, progress)
        now = self._clock()
        if now - self._last_save >= 60 * self._config.checkpoint_minutes:
            self._save(state, progress)
            return True
        if now - self._last_check >= BEST_SECONDS:
            self._keep_best(state, progress)
        return False

    def save(self, state: Counted, progress: Progress) -> None:
        """Save and wait until it is written; also save the state as the best if it is.

        Args:
            state: A pytree of arrays, typed random keys and Python numbers; its
                ``frames`` name the checkpoint.
            progress: Progress of the run. The state can be the best only once the
                window of episodes is full; the mean return decides.
        """
        self._save(state, progress)
        self._finish()

    def save_temporary(self, state: Counted, progress: Progress) -> "Future[None]":
        """Write a temporary checkpoint while training continues.

        Returns:
            A future that is done when the checkpoint is at `temporary`.
        """
        host = self._host(state, progress)
        return self._commit(state, host, TEMPORARY, kept=1)

    def temporary(self, frames: int) -> Path:
        """Return the path of a temporary checkpoint."""
        return self._folder / TEMPORARY / f"{frames:012d}"

    def remove_temporary(self, frames: int) -> None:
        """Remove a temporary checkpoint."""
        shutil.rmtree(self.temporary(frames), ignore_errors=True)

    def keep_if_best(self, frames: int, score: float) -> bool:
        """Make a temporary checkpoint the best one if its score is the best so far."""
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
        self.temporary(frames).rename(final)
        for path in others:
            if path != final:
                shutil.rmtree(path)
        return True

    def _save(self, state: Counted, progress: Progress) -> None:
        # First: if a latest checkpoint exists, so do the kept ones before it.
        self._keep_milestone(state, progress)
        self._keep_best(state, progress)
        frames = int(state.frames)
        if frames != self._saved_frames:
            self._commit(state, self._host(state, progress), "latest", kept=KEPT)
            self._saved_frames = frames
        self._last_save = self._clock()

    def _milestone_at(self, frames: int) -> int:
        every = self._config.keep_every
        return frames // every if every else 0

    def _keep_milestone(self, state: Counted, progress: Progress) -> None:
        """Keep the first state at or after each multiple of ``keep_every`` frames."""
        number = self._milestone_at(int(state.frames))
        if number <= self._milestone:
            return
        self._milestone = number
        self._finish()
        # A run that was killed after keeping one passes the same multiple again.
        kept = runs.checkpoint_dirs(self.run_dir, "kept")
        if number not in {self._milestone_at(int(path.name)) for path in kept}:
            self._commit(state, self._host(state, progress), "kept", kept=None)

    def _keep_best(self, state: Counted, progress: Progress) -> None:
        episodes = progress.episodes
        score = episodes.summary("shaped_return").mean
        by_training = self._config.watch.best_by == "training"
        if by_training and episodes.full and score > self._best:
            self._best = score
            self._commit(state, self._host(state, progress), "best", kept=1)
        self._last_check = self._clock()

    def _host(self, state: Counted, progress: Progress) -> dict[str, Any]:
        return {
            **progress.state(),
            "frames": int(state.frames),
            "best": None if self._best == -np.inf else self._best,
            "best_by": self._config.watch.best_by,
        }

    def _commit(
        self, state: Any, host: dict[str, Any], kind: str, kept: int | None
    ) -> "Future[None]":
        self._finish()
        # Copies: the next update may write to the state's own memory.
        arrays = {name: np.array(leaf) for name, leaf in named_arrays(state).items()}
        self._writing = self._thread.submit(self._write, arrays, host, kind, kept)
        return self._writing

    def _finish(self) -> None:
        """Wait for the write in progress; raise its error."""
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()

    def _write(
        self,
        arrays: dict[str, np.ndarray],
        host: dict[str, Any],
        kind: str,
        kept: int | None,
    ) -> None:
        write_arrays(self.run_dir, kind, arrays, host, kept=kept)


def _take_lock(path: Path) -> IO[str]:
    # Nothing is written or truncated: a symlink in an untrusted run directory cannot
    # harm its target, and opening a FIFO does not block.
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
