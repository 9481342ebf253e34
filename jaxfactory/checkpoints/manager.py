"""Saving a training run and resuming it: which checkpoints are kept."""

import os
import shutil
import time
import warnings
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np

from jaxfactory._util.errors import UserError
from jaxfactory.checkpoints import host_file
from jaxfactory.checkpoints.background_writer import BackgroundWriter, Counted
from jaxfactory.checkpoints.checkpoint_files import (
    KEPT,
    State,
    best_score,
    read_state,
    remove,
    why,
)
from jaxfactory.checkpoints.run_folder import TEMPORARY, RunFolder
from jaxfactory.config import runs
from jaxfactory.config.train import Config
from jaxfactory.metrics.progress import Progress


# Seconds between checks whether the state is the best so far.
BEST_SECONDS = 15.0
# Seconds until a checkpoint that could not be written is tried again.
RETRY_SECONDS = 60.0


class Checkpointer:
    """Saves and restores one run; a context manager that holds the run's lock.

    ``maybe_save`` copies the state and writes it on another thread while training
    continues; leaving the context waits for that. If it cannot be written, for example
    on a full disk, that is a warning, and ``maybe_save`` tries again after a minute.

    Args:
        run_dir: The run's directory; created if it does not exist.
        config: The run's settings.
        clock: Returns seconds; decides when ``maybe_save`` saves.

    Attributes:
        limit: Checkpoints of more frames are not resumed from.

    Raises:
        UserError: On entering, if the directory cannot be used for this run.
    """

    def __init__(
        self,
        run_dir: Path,
        config: Config,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.run_dir = run_dir = Path(run_dir)
        self._config = config
        self._clock = clock
        self._last_save = self._last_check = clock()
        self._saved_frames = -1
        self._best = -np.inf
        # Number of multiples of --keep-every that training has passed.
        self._milestone = 0
        self._run = RunFolder(run_dir, lambda: runs.write_config(run_dir, config))
        self._folder = self._run.checkpoints
        self._writer = BackgroundWriter(self.run_dir)
        self._retry_at: float | None = None
        self.limit: float = np.inf

    def __enter__(self) -> "Checkpointer":
        runs.check_run(self.run_dir, self._config)
        self._run.open(lambda: runs.open_run(self.run_dir, self._config))
        self._last_save = self._clock()
        return self

    def __exit__(self, *exception: object) -> None:
        try:
            self._writer.close()
        finally:
            self._run.close()

    @property
    def saved_frames(self) -> int:
        """Frames of the checkpoint that training is resumed from; 0 in a new run."""
        saved = self._resumable()
        return int(saved[-1].name) if saved else 0

    def _resumable(self) -> list[Path]:
        saved = runs.checkpoint_dirs(self.run_dir, "latest")
        saved = [path for path in saved if int(path.name) <= self.limit]
        if self._config.resume == "exact":
            saved = [path for path in saved if self._config.is_cut(int(path.name))]
        return saved

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
        saved = self._resumable()
        for path in reversed(saved):
            try:
                host = host_file.read(path)
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
            if self._config.resume == "exact" or self.limit < np.inf:
                os.utime(path)  # The oldest is removed: not this one.
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
        if not self._is_writable():
            return False
        self._keep_milestone(state, progress)
        now = self._clock()
        self._writer.finish_if_done()
        due = now - self._last_save >= 60 * self._config.checkpoint_minutes
        if self._retry_at is not None:
            due = now >= self._retry_at
        if self._config.resume == "exact":
            due = self._config.is_cut(int(state.frames))
        if due:
            self.begin_save(state, progress)
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

        Raises:
            UserError: If it cannot be written.
        """
        if not self._run.is_there() and not self._make_again():
            raise UserError(
                f"the run directory {self.run_dir} was removed and cannot be made "
                f"again: the state at {int(state.frames):,} frames is not saved"
            )
        self.begin_save(state, progress)
        if error := self._writer.finish(warn=False):
            raise UserError(
                f"the run's last checkpoint cannot be written to {self._folder} "
                f"({why(error)}); free disk space and resume from the one before: "
                f"jaxfactory train --run {self.run_dir}"
            ) from error

    def save_temporary(self, state: Counted, progress: Progress) -> "Future[None]":
        """Write a temporary checkpoint while training continues.

        Returns:
            A future that is done when the checkpoint is at `temporary`.
        """
        host = self._host(state, progress)
        return self._writer.commit(state, host, TEMPORARY, kept=1)

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
        self._writer.finish()
        best = self._folder / "best"
        best.mkdir(exist_ok=True)
        others = runs.checkpoint_dirs(self.run_dir, "best")
        final = best / f"{frames:012d}"
        if final in others:
            remove(final)
        self.temporary(frames).rename(final)
        self._best = score
        for path in others:
            if path != final:
                remove(path)
        return True

    def _is_writable(self) -> bool:
        """Make the run's directory again if it was removed; whether it is there."""
        waits = self._retry_at is not None and self._clock() < self._retry_at
        return self._run.is_there() or (not waits and self._make_again())

    def _make_again(self) -> bool:
        if made := self._run.make_again():
            best_by = self._config.watch.best_by
            self._best, self._saved_frames = best_score(self.run_dir, best_by), -1
        self._retry_at = self._clock() + (0.0 if made else RETRY_SECONDS)
        return made

    def begin_save(self, state: Counted, progress: Progress) -> None:
        """Save while training continues, unless its frames are saved already."""
        self._retry_at = None
        # First: if a latest checkpoint exists, so do the kept ones before it.
        self._keep_milestone(state, progress)
        self._keep_best(state, progress)
        frames = int(state.frames)
        if frames != self._saved_frames:
            self._writer.commit(
                state, self._host(state, progress), "latest", kept=KEPT,
                undo=self._retry_later,
            )  # fmt: skip
            self._saved_frames = frames
        self._last_save = self._clock()

    def _milestone_at(self, frames: int) -> int:
        every = self._config.keep_every
        return frames // every if every else 0

    def _keep_milestone(self, state: Counted, progress: Progress) -> None:
        """Keep the first state at or after each multiple of ``keep_every`` frames."""
        number = self._milestone_at(int(state.frames))
        if number <= self._milestone or self._retry_at is not None:
            return
        before, self._milestone = self._milestone, number
        self._writer.finish()
        # A run that was killed after keeping one passes the same multiple again.
        kept = runs.checkpoint_dirs(self.run_dir, "kept")
        if number not in {self._milestone_at(int(path.name)) for path in kept}:
            self._writer.commit(
                state, self._host(state, progress), "kept", kept=None,
                undo=lambda: self._retry_later(before),
            )  # fmt: skip

    def _keep_best(self, state: Counted, progress: Progress) -> None:
        episodes = progress.episodes
        score = episodes.summary("shaped_return").mean
        by_training = self._config.watch.best_by == "training"
        if by_training and episodes.full and score > self._best:
            before, self._best = self._best, score
            self._writer.commit(
                state, self._host(state, progress), "best", kept=1,
                undo=lambda: setattr(self, "_best", before),
            )  # fmt: skip
        self._last_check = self._clock()

    def _host(self, state: Counted, progress: Progress) -> dict[str, Any]:
        return {
            **progress.state(),
            "frames": int(state.frames),
            "best": None if self._best == -np.inf else self._best,
            "best_by": self._config.watch.best_by,
        }

    def _retry_later(self, milestone: int | None = None) -> None:
        """Save everything again in a minute, and the milestone after this one."""
        if milestone is not None:
            self._milestone = milestone
        self._saved_frames = -1
        self._retry_at = self._clock() + RETRY_SECONDS
