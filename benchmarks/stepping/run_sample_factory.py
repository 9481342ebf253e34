"""Measures Sample Factory's environments, in its own virtual environment.

The benchmark imports this file; the interpreter of that virtual environment, which
needs no jaxfactory, executes it.
"""

import json
import multiprocessing
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any


FRAME_SKIP = 4
# The virtual environment's path; the benchmark sets it for its workers.
VARIABLE = "SAMPLE_FACTORY_VENV"
_ANSWER_TIMEOUT_S = 60.0


def run(job: Any) -> dict[str, Any]:
    """Measure environment processes that run without waiting."""
    from stepping.measuring import UnavailableError

    folder = os.environ.get(VARIABLE)
    if not folder:
        raise UnavailableError(
            "Sample Factory needs its own virtual environment; give its path with "
            "--sample-factory"
        )
    done = subprocess.run(
        [
            str(Path(folder) / "bin" / "python"), str(Path(__file__).resolve()),
            json.dumps(job._asdict()),
        ],
        capture_output=True, text=True,
    )  # fmt: skip
    for line in reversed(done.stdout.splitlines()):
        if line.startswith("{"):
            return json.loads(line)
    reason = done.stderr.strip().splitlines()[-1:] or ["no answer"]
    raise UnavailableError(f"Sample Factory could not be measured: {reason[0]}")


def _step(index: int, job: dict, steps: Any, ready: Any, stop: Any) -> None:
    """Step one environment with random actions until told to stop."""
    from sample_factory.utils.attr_dict import AttrDict
    from sf_examples.vizdoom.doom.doom_utils import make_doom_env
    from sf_examples.vizdoom.train_vizdoom import parse_vizdoom_cfg

    if job["setting"]["pin"]:
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[index % len(cores)]})
    name = f"doom_{job['scenario']}"
    cfg = parse_vizdoom_cfg(argv=["--algo=APPO", f"--env={name}"])
    where = AttrDict(worker_index=index, vector_index=0, env_id=index)
    env = make_doom_env(name, cfg, env_config=where)
    env.action_space.seed(index)
    env.reset()
    ready.release()
    while not stop.is_set():
        _, _, terminated, truncated, _ = env.step(env.action_space.sample())
        if terminated or truncated:
            env.reset()
        steps[8 * index] += 1
    env.close()


def main() -> None:
    """Measure in this interpreter and print one JSON line."""
    job = json.loads(sys.argv[1])
    number = job["setting"]["num_processes"]
    context = multiprocessing.get_context("fork")
    # Each worker's counter has a cache line of its own.
    steps = context.RawArray("q", number * 8)
    ready, stop = context.Semaphore(0), context.Event()
    workers = [
        context.Process(target=_step, args=(i, job, steps, ready, stop), daemon=True)
        for i in range(number)
    ]
    for worker in workers:
        worker.start()
    for _ in workers:
        if not ready.acquire(timeout=_ANSWER_TIMEOUT_S):
            raise RuntimeError("an environment process did not answer")
    time.sleep(job["warmup"])
    before, start = sum(steps), time.perf_counter()
    time.sleep(job["seconds"])
    done, seconds = sum(steps) - before, time.perf_counter() - start
    alive = all(worker.is_alive() for worker in workers)
    stop.set()
    for worker in workers:
        worker.join(3)
    if not alive:
        raise RuntimeError("an environment process ended early")
    print(json.dumps({"frames": done * FRAME_SKIP, "seconds": seconds}), flush=True)


if __name__ == "__main__":
    main()
