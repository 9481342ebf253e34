"""Finding one policy of a population: by its number, or the best one."""

import math
from pathlib import Path

from jaxfactory._util.errors import UserError
from jaxfactory.checkpoints.checkpoint_files import read_host
from jaxfactory.config import runs
from jaxfactory.metrics.episodes import EpisodeStats


BEST = "best"


def find(run_dir: Path, policy: str = BEST) -> Path:
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
        return runs.policy_dir(run_dir, best(run_dir, count))
    if not int(policy) < count:
        raise UserError(
            f"--policy {policy}: the run {run_dir} has the policies 0 to {count - 1}, "
            "or best"
        )
    return runs.policy_dir(run_dir, int(policy))


def best(run_dir: Path, count: int) -> int:
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
        episodes.load(read_host(saved[-1])["episodes"])
    except (OSError, ValueError):
        return -math.inf
    won = objective == "win_rate"
    score = episodes.win_rate() if won else episodes.summary("raw_return").mean
    return score if math.isfinite(score) else -math.inf
