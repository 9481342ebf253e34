"""Finding a run's checkpoint and reading it."""

import math
from pathlib import Path
from typing import NamedTuple

from jaxfactory._util.errors import UserError
from jaxfactory.checkpoints import host_file
from jaxfactory.checkpoints.checkpoint_files import State, read_state, why
from jaxfactory.config import runs, validation
from jaxfactory.config.train import Config
from jaxfactory.metrics.episodes import EpisodeStats


# The policy of a population that is taken unless one is named.
BEST = "best"


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
            return host_file.read(self.path)["leaves"]
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
    run_dir = policy_run(run_dir)
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


def policy_run(run_dir: Path, policy: str = BEST) -> Path:
    """Return the run of a policy; a run of a single policy is its own.

    Args:
        run_dir: The run, of one or of several policies.
        policy: The number of a policy, or ``"best"``.

    Raises:
        UserError: If there is no such policy.
    """
    count = 1
    if runs.is_run(run_dir):
        count = runs.load_config(run_dir).population.num_policies
    if count == 1:
        if policy not in (BEST, "0"):
            raise UserError(
                f"--policy {policy}: the run {run_dir} has a single policy; leave it "
                "out"
            )
        return run_dir
    if policy == BEST:
        return runs.policy_dir(run_dir, _best(run_dir, count))
    if not int(policy) < count:
        raise UserError(
            f"--policy {policy}: the run {run_dir} has the policies 0 to {count - 1}, "
            "or best"
        )
    return runs.policy_dir(run_dir, int(policy))


def _best(run_dir: Path, count: int) -> int:
    """Return the policy whose last episodes before its newest checkpoint were best.

    Raw returns are compared, or win rates if the population was ranked by them: shaped
    rewards may differ between policies. Of equals it is the first.

    Args:
        run_dir: The population's run.
        count: Number of its policies.
    """
    objective = runs.load_config(run_dir).population.pbt_objective
    scores = [_score(runs.policy_dir(run_dir, i), objective) for i in range(count)]
    return scores.index(max(scores))


def _score(folder: Path, objective: str) -> float:
    """Return a policy's objective; minus infinity if it is not known."""
    saved = runs.checkpoint_dirs(folder, "latest")
    if not saved:
        return -math.inf
    episodes = EpisodeStats()
    try:
        episodes.load(host_file.read(saved[-1])["episodes"])
    except (OSError, ValueError):
        return -math.inf
    won = objective == "win_rate"
    score = episodes.win_rate() if won else episodes.summary("raw_return").mean
    return score if math.isfinite(score) else -math.inf
