"""Finding a run's checkpoint and reading it."""

from pathlib import Path
from typing import NamedTuple

from jaxfactory._util.errors import UserError
from jaxfactory.checkpoints import policy_dirs
from jaxfactory.checkpoints.checkpoint_files import State, read_host, read_state, why
from jaxfactory.config import runs, validation
from jaxfactory.config.train import Config


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
        """Return shape and type of each of its arrays, as in ``"float32[3,4]"``.

        Raises:
            UserError: If its description cannot be read.
        """
        try:
            return read_host(self.path)["leaves"]
        except (OSError, ValueError) as error:
            raise self._damaged(error) from error

    def restore(self, target: State) -> State:
        """Return the saved state, or some of its fields.

        Args:
            target: A tuple of the fields to read; its leaves give shapes and types.

        Raises:
            UserError: If the checkpoint is damaged or of another network.
        """
        try:
            return read_state(self.path, target, partial=True)
        except UserError:
            raise
        except Exception as error:  # Orbax raises many kinds on damaged files.
            raise self._damaged(error) from error

    def _damaged(self, error: Exception) -> UserError:
        if isinstance(error, UserError):
            return error
        other = "best" if self.path.parent.name == "latest" else "latest"
        return UserError(
            f"the checkpoint {self.path} is damaged ({why(error)}); "
            f"--checkpoint {other} may be intact"
        )


def load_for_evaluation(run_dir: Path, kind: str = "latest") -> SavedRun:
    """Find a run's checkpoint; its arrays are read by ``SavedRun.restore``.

    Args:
        run_dir: The run; of a population, its best policy is taken.
        kind: ``"latest"`` or ``"best"``, the latest if there is no best one yet; or
            the frames of a checkpoint, as in ``"1000000"``. A multiple of
            ``keep_every`` stands for the first kept checkpoint after it.

    Raises:
        UserError: If the directory is not a run or has no such checkpoint.
    """
    validation.checkpoint(kind)
    run_dir = policy_dirs.find(run_dir)
    config = runs.load_config(run_dir)
    if kind.isdigit():
        path = _at_frames(run_dir, int(kind), config.keep_every)
        return SavedRun(config, path, int(path.name))
    saved = runs.checkpoint_dirs(run_dir, kind)
    if not saved and kind == "best":
        # No best checkpoint is saved before 100 episodes have ended.
        saved = runs.checkpoint_dirs(run_dir, "latest")
    if not saved:
        raise UserError(
            f"the run {run_dir} has no {kind} checkpoint: train it first with "
            f"`jaxfactory train --run {run_dir}`"
        )
    return SavedRun(config, saved[-1], int(saved[-1].name))


def _at_frames(run_dir: Path, frames: int, keep_every: int) -> Path:
    """Return the checkpoint at a number of frames, or the kept one of a multiple.

    Raises:
        UserError: If there is none.
    """
    kept = runs.checkpoint_dirs(run_dir, "kept")
    others = runs.checkpoint_dirs(run_dir, "best")
    for path in (*kept, *others, *runs.checkpoint_dirs(run_dir, "latest")):
        if int(path.name) == frames:
            return path
    if keep_every and not frames % keep_every:
        for path in kept:
            if frames <= int(path.name) < frames + keep_every:
                return path
    there = ", ".join(str(int(path.name)) for path in kept) or "none"
    raise UserError(
        f"the run {run_dir} has no checkpoint at {frames} frames; kept are {there}, "
        "and best and latest name the others"
    )
