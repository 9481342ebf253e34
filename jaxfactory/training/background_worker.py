"""The worker process of background evaluation; see `background_eval`.

``python -m jaxfactory.training.background_worker`` reads one job per line from standard
input and answers each with one line.
"""

import dataclasses
import json
import os
import queue
import signal
import sys
import threading
import traceback
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxfactory._util import jax_setup


if TYPE_CHECKING:
    from jaxfactory.rollout.episode import Episode


# Lower priority than the trainer: a tenth of a core that both compete for.
_NICENESS = 10
_MAX_ENVS = 8
# Training uses seeds below 2^32 and the evaluation of a finished run those from 2^32
# on: the final score is from other episodes than those that chose the checkpoint.
_FIRST_SEED = 2**33


def main() -> int:
    """Process jobs until standard input is closed."""
    os.nice(_NICENESS)
    # Only answers may go to the pipe that the trainer reads.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    # The trainer, which gets these as well, ends this process when it has saved.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _exit)
    jax_setup.configure_xla()
    jobs: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    busy = threading.Event()
    threading.Thread(target=_read_jobs, args=(jobs, busy), daemon=True).start()
    kept: dict[str, Any] = {}
    while (line := jobs.get()) is not None:
        busy.set()
        try:
            answer = evaluate_checkpoint(json.loads(line), kept)
        except Exception as error:
            traceback.print_exc()
            answer = {"error": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
        busy.clear()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    return 0


def _read_jobs(jobs: "queue.SimpleQueue[str | None]", busy: threading.Event) -> None:
    for line in sys.stdin:
        jobs.put(line)
    jobs.put(None)
    # In the middle of a job the main thread exits too, after closing its engines.
    if busy.is_set():
        os.kill(os.getpid(), signal.SIGTERM)


def _exit(signum: int, frame: FrameType | None) -> None:
    del signum, frame
    sys.exit(0)


def evaluate_checkpoint(job: dict[str, Any], kept: dict[str, Any]) -> dict[str, Any]:
    """Run episodes with a temporary checkpoint.

    Args:
        job: ``run``, ``checkpoint``, ``frames``, ``episodes`` (0 for no score) and
            ``video`` (a path or None).
        kept: Keeps the network and its compiled functions from one job to the next.

    Returns:
        ``metrics``, empty without a score, and ``video``.
    """
    from jaxfactory.checkpoints.policy import load_policy
    from jaxfactory.checkpoints.saved_run import SavedRun
    from jaxfactory.config import runs
    from jaxfactory.config.train import EvaluateOptions
    from jaxfactory.envs.pool import make_pool
    from jaxfactory.evaluation.evaluate import env_for, first_episode, run_episodes
    from jaxfactory.evaluation.video import write_mp4
    from jaxfactory.metrics.gif import write_gif
    from jaxfactory.models.actor_critic import ActorCritic

    config = runs.load_config(Path(job["run"]))
    episodes = job["episodes"] or 1
    options = EvaluateOptions(episodes=episodes, seed=config.seed)
    env = env_for(config.env, min(episodes, _MAX_ENVS))
    env = dataclasses.replace(env, num_workers=0)
    # Not pinned: the trainer's workers have their cores to themselves.
    with make_pool(env, seed=_FIRST_SEED + config.seed, pin=False) as pool:
        network = kept.setdefault("network", ActorCritic(pool.spec, config.network))
        saved = SavedRun(config, Path(job["checkpoint"]), job["frames"])
        policy = load_policy(saved, network)
        act = kept.setdefault("act", policy.make_act())
        evaluation = run_episodes(pool, policy, options, act=act)
    metrics = _metrics(evaluation.all_episodes) if job["episodes"] else {}
    if job["video"]:
        mp4 = Path(job["video"])
        mp4.parent.mkdir(exist_ok=True)
        write_mp4(env, first_episode(evaluation.recording, env.frame_skip), mp4)
        write_gif(mp4, mp4.with_suffix(".gif"))
    return {"metrics": metrics, "video": job["video"]}


def _metrics(episodes: "list[Episode]") -> dict[str, float]:
    metrics = {"evaluation/episodes": float(len(episodes))}
    names = ["shaped_return", "raw_return", "length"]
    if episodes[0].place:  # Of a match.
        names += ["frags", "place"]
    for name in names:
        values = [float(getattr(episode, name)) for episode in episodes]
        metrics[f"evaluation/{name}"] = float(np.mean(values))
        metrics[f"evaluation/{name}_std"] = float(np.std(values))
        metrics[f"evaluation/{name}_min"] = min(values)
        metrics[f"evaluation/{name}_max"] = max(values)
    return metrics


if __name__ == "__main__":
    sys.exit(main())
