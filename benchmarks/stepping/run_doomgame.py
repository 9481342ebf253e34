"""Measures `vizdoom.DoomGame` in worker processes, free-running or in lockstep."""

import contextlib
import multiprocessing
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from jaxfactory.scenarios import scenario_table
from stepping.measuring import (
    FRAME_SKIP,
    HEIGHT,
    NUM_PREPARED,
    WIDTH,
    Clock,
    Job,
    Setting,
    missing,
    process_settings,
    resizer,
    settle,
)


_ANSWER_TIMEOUT_S = 30.0


def settings(cores: int) -> list[Setting]:
    """Return the settings to try on a number of cores."""
    more = [
        {"num_processes": per_core * cores, "games": games, "pin": pin}
        for per_core, games in ((1, 4), (2, 4))
        for pin in (False, True)
    ]
    return [setting | {"games": 1} for setting in process_settings(cores)] + more


class _Shared:
    """Memory and semaphores shared by the worker processes and their parent."""

    def __init__(self, number: int, games: int):
        context = multiprocessing.get_context("fork")
        images = context.RawArray("B", number * games * HEIGHT * WIDTH * 3)
        self.images = np.frombuffer(images, np.uint8).reshape(
            number, games, HEIGHT, WIDTH, 3
        )
        # Each worker's counter has a cache line of its own.
        counters = context.RawArray("q", number * 8)
        self.steps = np.frombuffer(counters, np.int64).reshape(-1, 8)[:, 0]
        self.go = [context.Semaphore(0) for _ in range(number)]
        self.done = context.Semaphore(0)
        self.stop = context.Event()
        self.process = context.Process

    def wait_for_all(self) -> None:
        """Wait until each worker has signaled once that it is done."""
        for _ in self.go:
            if not self.done.acquire(timeout=_ANSWER_TIMEOUT_S):
                raise RuntimeError("a worker process did not answer")


def run(job: Job) -> dict[str, Any]:
    """Measure worker processes that run without waiting."""
    with _doom_workers(job, lockstep=False) as shared:
        time.sleep(job.warmup)
        before, start = shared.steps.sum(), time.perf_counter()
        time.sleep(job.seconds)
        done, seconds = shared.steps.sum() - before, time.perf_counter() - start
    return {"frames": int(done) * FRAME_SKIP, "seconds": seconds}


def run_in_lockstep(job: Job) -> dict[str, Any]:
    """Measure worker processes that wait for their parent before each step."""
    clock = Clock(job)
    with _doom_workers(job, lockstep=True) as shared:
        for _ in clock.windows():
            while clock.running():
                for go in shared.go:
                    go.release()
                shared.wait_for_all()
                clock.steps += len(shared.go) * job.setting["games"]
    return clock.result()


@contextlib.contextmanager
def _doom_workers(job: Job, *, lockstep: bool) -> Iterator[_Shared]:
    try:
        import vizdoom  # noqa: F401
    except ImportError as error:
        raise missing("vizdoom", "pip install vizdoom") from error
    shared = _Shared(job.setting["num_processes"], job.setting["games"])
    workers = [
        shared.process(
            target=_step_doom_game, args=(index, job, shared, lockstep), daemon=True
        )
        for index in range(len(shared.go))
    ]
    try:
        for worker in workers:
            worker.start()
        shared.wait_for_all()
        yield shared
        if not all(worker.is_alive() for worker in workers):
            raise RuntimeError("a worker process ended early")
    finally:
        shared.stop.set()
        for go in shared.go:
            go.release()
        for worker in workers:
            if worker.pid is not None:
                worker.join(3)


def _step_doom_game(index: int, job: Job, shared: _Shared, lockstep: bool) -> None:
    """Step several games in turn until told to stop."""
    settle(index, pin=job.setting["pin"])
    resize = resizer()
    seeds = range(index * job.setting["games"], (index + 1) * job.setting["games"])
    games = [_doom_game(job.scenario, seed=seed) for seed in seeds]
    for game, _ in games:
        game.init()
    shared.done.release()
    at = 0
    while not shared.stop.is_set():
        if lockstep:
            shared.go[index].acquire()
        at = (at + 1) % NUM_PREPARED
        for (game, actions), image in zip(games, shared.images[index]):
            game.make_action(actions[at], FRAME_SKIP)
            if game.is_episode_finished():
                game.new_episode()
            resize(game.get_state().screen_buffer, image)
            shared.steps[index] += 1
        if lockstep:
            shared.done.release()
    for game, _ in games:
        game.close()


def _doom_game(name: str, *, seed: int) -> tuple[Any, list[list[float]]]:
    """Return a game with the pool's files and settings, and random actions for it."""
    import vizdoom

    scenario = scenario_table.find(name)
    config = scenario.load()
    game = vizdoom.DoomGame()
    game.load_config(str(scenario.cfg))
    game.set_doom_scenario_path(str(scenario_table.find_wad(config)))
    game.set_screen_resolution(vizdoom.ScreenResolution.RES_160X120)
    game.set_screen_format(vizdoom.ScreenFormat.RGB24)
    game.set_window_visible(False)
    game.set_mode(vizdoom.Mode.PLAYER)
    game.set_seed(seed)
    buttons = [button.name for button in game.get_available_buttons()]
    heads = scenario_table.action_heads(scenario, config)
    choices = np.random.default_rng(seed).integers(
        0, [len(head) for head in heads], (NUM_PREPARED, len(heads))
    )
    actions = []
    for row in choices:
        held = dict(pair for head, i in zip(heads, row) for pair in head[i])
        actions.append([held.get(button, 0.0) for button in buttons])
    return game, actions
