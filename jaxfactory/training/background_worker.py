"""The process that watches states which a trainer sets aside; see `evaluator`.

``python -m jaxfactory.training.background_worker`` reads one job per line from its
standard input and answers each with a line.
"""

import dataclasses
import json
import os
import queue
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

from jaxfactory._util import jax_setup


# Lower than the trainer's by so much: of a core that both want it gets a tenth.
_NICENESS = 10
_MOST_ENVS = 8
# Evaluations of a finished run use seeds from 2^32 on, training those below: scores
# that a checkpoint was chosen by are of other episodes than its final score.
_FIRST_SEED = 2**33


def main() -> int:
    """Do jobs until standard input is closed."""
    os.nice(_NICENESS)
    # Only answers may go where the trainer listens.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _leave)
    jax_setup.configure_xla()
    jobs: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    busy = threading.Event()
    threading.Thread(target=_listen, args=(jobs, busy), daemon=True).start()
    acts: dict[str, Callable] = {}
    while (line := jobs.get()) is not None:
        busy.set()
        try:
            answer = watch(json.loads(line), acts)
        except Exception as error:
            traceback.print_exc()
            answer = {"error": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
        busy.clear()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    return 0


def _listen(jobs: "queue.SimpleQueue[str | None]", busy: threading.Event) -> None:
    for line in sys.stdin:
        jobs.put(line)
    jobs.put(None)
    # In the middle of a job the main thread leaves too, its engines in order.
    if busy.is_set():
        os.kill(os.getpid(), signal.SIGTERM)


def _leave(signum: int, frame: FrameType | None) -> None:
    del signum, frame
    sys.exit(0)


def watch(job: dict[str, Any], acts: dict[str, Callable]) -> dict[str, Any]:
    """Play a state that was set aside.

    Args:
        job: ``run``, ``checkpoint``, ``frames``, ``episodes`` (0 for no score) and
            ``video`` (a path or None).
        acts: Keeps compiled functions from one job to the next.

    Returns:
        ``metrics``, empty without a score, and ``video``.
    """
    from jaxfactory.checkpoints.saved_run import SavedRun
    from jaxfactory.checkpoints.saved_state import load_state
    from jaxfactory.config import runs
    from jaxfactory.config.train import EvaluateOptions
    from jaxfactory.envs.pool import make_pool
    from jaxfactory.evaluation.evaluate import env_for, first_episode, play
    from jaxfactory.evaluation.video import write_mp4
    from jaxfactory.metrics.gif import write_gif
    from jaxfactory.models.actor_critic import ActorCritic
    from jaxfactory.rollout.policy import make_act

    config = runs.load_config(Path(job["run"]))
    episodes = job["episodes"] or 1
    options = EvaluateOptions(episodes=episodes, seed=config.seed)
    env = env_for(config.env, min(episodes, _MOST_ENVS))
    env = dataclasses.replace(env, num_workers=0)
    # Not pinned: the trainer's workers have their cores to themselves.
    with make_pool(env, seed=_FIRST_SEED + config.seed, pin=False) as pool:
        network = ActorCritic(pool.spec, config.network)
        if "act" not in acts:
            acts["act"] = make_act(network)
        saved = SavedRun(config, Path(job["checkpoint"]), job["frames"])
        state = load_state(saved, network)
        played = play(pool, network, state, options, act=acts["act"])
    metrics: dict[str, float] = {}
    if job["episodes"]:
        ended = [episode for row in played.episodes for episode in row]
        metrics["evaluation/episodes"] = float(len(ended))
        columns = {
            "shaped_return": [episode.shaped_return for episode in ended],
            "raw_return": [episode.raw_return for episode in ended],
            "length": [float(episode.length) for episode in ended],
        }
        if ended[0].place:  # Of a match.
            columns["frags"] = [float(episode.frags) for episode in ended]
            columns["place"] = [float(episode.place) for episode in ended]
        for name, values in columns.items():
            metrics[f"evaluation/{name}"] = float(np.mean(values))
            metrics[f"evaluation/{name}_std"] = float(np.std(values))
            metrics[f"evaluation/{name}_min"] = min(values)
            metrics[f"evaluation/{name}_max"] = max(values)
    if job["video"]:
        mp4 = Path(job["video"])
        mp4.parent.mkdir(exist_ok=True)
        write_mp4(env, first_episode(played.recording, env.frame_skip), mp4)
        write_gif(mp4, mp4.with_suffix(".gif"))
    return {"metrics": metrics, "video": job["video"]}


if __name__ == "__main__":
    sys.exit(main())
