"""Who is measured: each steps Doom with random actions and says how fast.

All deliver images of 72x128 in RGB as uint8 and hold each action for `FRAME_SKIP` tics.
The peers' imports are inside the functions: each is imported in its own process only.
"""

import contextlib
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import machine
import numpy as np

from jaxfactory import scenarios


FRAME_SKIP = 4
HEIGHT, WIDTH = 72, 128
_NUM_PREPARED = 1024
_ANSWER_TIMEOUT_S = 30.0

Setting = dict[str, Any]


class UnavailableError(Exception):
    """A contender cannot take part; the message says why."""


class Job(NamedTuple):
    """One measurement.

    Attributes:
        warmup: Seconds that are stepped before the clock starts.
        seconds: Seconds on the clock.
    """

    scenario: str
    setting: Setting
    warmup: float
    seconds: float


class Contender(NamedTuple):
    """Somebody to measure.

    Attributes:
        rendered: What the engine draws before it is resized.
        note: Where it differs from the others.
        settings: Of a number of cores; the first is a sensible default.
        run: Measures one setting; returns at least `frames` and `seconds`.
    """

    label: str
    rendered: str
    note: str
    settings: Callable[[int], list[Setting]]
    run: Callable[[Job], dict[str, Any]]


class Clock:
    """Counts the steps of a timed window, after a warm-up that does not count."""

    def __init__(self, job: Job):
        self._end = 0.0
        self._job = job

    def windows(self) -> Iterator[bool]:
        """Yield False for the warm-up, then True for the timed window."""
        for counts, seconds in ((False, self._job.warmup), (True, self._job.seconds)):
            self.steps = 0
            self.start = time.perf_counter()
            self._end = self.start + seconds
            yield counts
        self.seconds = time.perf_counter() - self.start

    def running(self) -> bool:
        """Whether the window is still open."""
        return time.perf_counter() < self._end

    def result(self) -> dict[str, Any]:
        """Return what was counted, as the parent process reads it."""
        return {"frames": int(self.steps) * FRAME_SKIP, "seconds": self.seconds}


# ----- jaxfactory


def _pool_settings(cores: int) -> list[Setting]:
    return [
        {"num_envs": per_core * cores, "num_groups": groups}
        for per_core in (8, 4, 16)
        for groups in (2, 1)
    ]


def _run_pool(job: Job) -> dict[str, Any]:
    try:
        from jaxfactory.pool import make_pool
    except ImportError as error:
        raise UnavailableError(
            f"jaxfactory's C++ core is not built ({error})"
        ) from error

    with make_pool(
        job.scenario, frame_skip=FRAME_SKIP, height=HEIGHT, width=WIDTH, **job.setting
    ) as pool:
        groups = range(pool.num_groups)
        size = pool.num_envs // pool.num_groups
        heads = pool.spec.action.heads
        actions = (
            np.random.default_rng(0)
            .integers(0, heads, (_NUM_PREPARED, size, len(heads)))
            .astype(np.int32)
        )
        pool.reset()
        clock = Clock(job)
        at = 0
        for _ in clock.windows():
            before = _cpu_times(pool.engine_pids)
            for group in groups:
                pool.send(group, actions[group])
            while clock.running():
                for group in groups:
                    pool.recv(group)
                    at = (at + 1) % _NUM_PREPARED
                    pool.send(group, actions[at])
                    clock.steps += size
            # What is under way is waited for, on the clock, and counts.
            for group in groups:
                pool.recv(group)
                clock.steps += size
        after = _cpu_times(pool.engine_pids)
        return clock.result() | _engine_shares(before, after, clock.seconds)


def _cpu_times(pids: list[int]) -> dict[int, tuple[int, int]]:
    """Return the user and kernel time of processes, in clock ticks."""
    times = {}
    for pid in pids:
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            times[pid] = (int(fields[11]), int(fields[12]))
    return times


def _engine_shares(before: dict, after: dict, seconds: float) -> dict[str, float]:
    """Return which share of all cores' time the engines had."""
    available = seconds * len(machine.cores()) * os.sysconf("SC_CLK_TCK")
    both = before.keys() & after.keys()
    user, kernel = (
        sum(after[pid][kind] - before[pid][kind] for pid in both) / available
        for kind in (0, 1)
    )
    return {"engine_user_share": user, "engine_kernel_share": kernel}


# ----- DoomGame in worker processes


def _process_settings(cores: int) -> list[Setting]:
    return [
        {"num_processes": per_core * cores, "pin": pin}
        for per_core in (2, 1, 4)
        for pin in (False, True)
    ]


def _game_settings(cores: int) -> list[Setting]:
    more = [
        {"num_processes": per_core * cores, "games": games, "pin": pin}
        for per_core, games in ((1, 4), (2, 4))
        for pin in (False, True)
    ]
    return [setting | {"games": 1} for setting in _process_settings(cores)] + more


class _Shared:
    """What the worker processes of `DoomGame` share with their parent."""

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
        """Wait until each worker has said once that it is done."""
        for _ in self.go:
            if not self.done.acquire(timeout=_ANSWER_TIMEOUT_S):
                raise RuntimeError("a worker process gave no answer")


def _run_doom_game(job: Job) -> dict[str, Any]:
    """Measure worker processes that wait for nobody."""
    with _doom_workers(job, lockstep=False) as shared:
        time.sleep(job.warmup)
        before, start = shared.steps.sum(), time.perf_counter()
        time.sleep(job.seconds)
        done, seconds = shared.steps.sum() - before, time.perf_counter() - start
    return {"frames": int(done) * FRAME_SKIP, "seconds": seconds}


def _run_doom_game_in_lockstep(job: Job) -> dict[str, Any]:
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
        raise _missing("vizdoom", "pip install vizdoom") from error
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
            raise RuntimeError("a worker process ended before its time")
    finally:
        shared.stop.set()
        for go in shared.go:
            go.release()
        for worker in workers:
            if worker.pid is not None:
                worker.join(3)


def _step_doom_game(index: int, job: Job, shared: _Shared, lockstep: bool) -> None:
    """Step some games in turn until told to stop."""
    _settle(index, pin=job.setting["pin"])
    resize = _resizer()
    seeds = range(index * job.setting["games"], (index + 1) * job.setting["games"])
    games = [_doom_game(job.scenario, seed=seed) for seed in seeds]
    for game, _ in games:
        game.init()
    shared.done.release()
    at = 0
    while not shared.stop.is_set():
        if lockstep:
            shared.go[index].acquire()
        at = (at + 1) % _NUM_PREPARED
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
    """Return a game on the pool's files and settings, and random actions for it."""
    import vizdoom

    scenario = scenarios.find(name)
    config = scenario.load()
    game = vizdoom.DoomGame()
    game.load_config(str(scenario.cfg))
    game.set_doom_scenario_path(str(scenarios.find_wad(config)))
    game.set_screen_resolution(vizdoom.ScreenResolution.RES_160X120)
    game.set_screen_format(vizdoom.ScreenFormat.RGB24)
    game.set_window_visible(False)
    game.set_mode(vizdoom.Mode.PLAYER)
    game.set_seed(seed)
    buttons = [button.name for button in game.get_available_buttons()]
    heads = scenarios.action_heads(scenario, config)
    choices = np.random.default_rng(seed).integers(
        0, [len(head) for head in heads], (_NUM_PREPARED, len(heads))
    )
    actions = []
    for row in choices:
        held = dict(pair for head, i in zip(heads, row) for pair in head[i])
        actions.append([held.get(button, 0.0) for button in buttons])
    return game, actions


# ----- Gymnasium's AsyncVectorEnv


def _run_gymnasium(job: Job) -> dict[str, Any]:
    return _run_gymnasium_at(job, same_engine=True)


def _run_gymnasium_as_shipped(job: Job) -> dict[str, Any]:
    return _run_gymnasium_at(job, same_engine=False)


def _run_gymnasium_at(job: Job, *, same_engine: bool) -> dict[str, Any]:
    """Measure `AsyncVectorEnv` with ViZDoom's environment.

    Args:
        job: The measurement.
        same_engine: Give the environment our .cfg and 160x120, instead of its own.
    """
    os.environ["PYGAME_HIDE_SUPPORT_PROMPT"] = "1"
    try:
        import gymnasium
        import vizdoom
        import vizdoom.gymnasium_wrapper  # registers the environments
    except ImportError as error:
        raise _missing("Gymnasium") from error
    name = f"Vizdoom{_camel(job.scenario)}-v1"
    if name not in gymnasium.registry:
        raise UnavailableError(f"ViZDoom has no Gymnasium environment {name}")
    options: dict[str, Any] = {"max_buttons_pressed": 1}
    if same_engine:
        scenario = scenarios.find(job.scenario)
        options |= {
            "scenario_config_file": str(scenario.cfg),
            "doom_scenario_path": str(scenarios.find_wad(scenario.load())),
            "screen_resolution": vizdoom.ScreenResolution.RES_160X120,
        }
    parent = os.getpid()
    resize = _resizer()

    class Delivered(gymnasium.ObservationWrapper):
        """Deliver the resized image alone."""

        def __init__(self, env):
            super().__init__(env)
            shape = (HEIGHT, WIDTH, 3)
            self.observation_space = gymnasium.spaces.Box(0, 255, shape, np.uint8)

        def observation(self, observation):
            image = np.empty((HEIGHT, WIDTH, 3), np.uint8)
            resize(observation["screen"], image)
            return image

    def make(index: int):
        # AsyncVectorEnv also makes one here, to ask for its spaces.
        if os.getpid() != parent:
            _settle(index, pin=job.setting["pin"])
        env = gymnasium.make(
            name, frame_skip=FRAME_SKIP, disable_env_checker=True, **options
        )
        return Delivered(env)

    number = job.setting["num_processes"]
    envs = gymnasium.vector.AsyncVectorEnv(
        [lambda index=index: make(index) for index in range(number)],
        shared_memory=True,
        copy=False,
        context="fork",
    )
    try:
        space = envs.single_action_space
        if not isinstance(space, gymnasium.spaces.Discrete):
            raise UnavailableError(f"{name} has no plain discrete actions")
        actions = np.random.default_rng(0).integers(0, space.n, (_NUM_PREPARED, number))
        envs.reset(seed=0)
        clock = Clock(job)
        ended, at = np.zeros(number, bool), 0
        for _ in clock.windows():
            while clock.running():
                at = (at + 1) % _NUM_PREPARED
                _, _, terminated, truncated, _ = envs.step(actions[at])
                # The call after an episode's end resets and steps no frame.
                clock.steps += number - int(ended.sum())
                ended = terminated | truncated
    finally:
        envs.close()
    return clock.result()


# ----- EnvPool


def _envpool_settings(cores: int) -> list[Setting]:
    def setting(num_envs: int, batch_size: int, num_threads: int, pin: bool = False):
        return {
            "num_envs": num_envs * cores,
            "batch_size": batch_size * cores,
            "num_threads": num_threads * cores,
            "thread_affinity_offset": 0 if pin else -1,
        }

    return [
        setting(4, 4, 4),
        setting(4, 4, 1),
        setting(4, 4, 2),
        setting(8, 8, 1),
        setting(8, 8, 8),
        setting(16, 16, 2),
        setting(4, 2, 4),
        setting(8, 4, 2),
        setting(16, 4, 4),
        setting(4, 4, 1, pin=True),
        setting(8, 4, 1, pin=True),
    ]


def _run_envpool(job: Job) -> dict[str, Any]:
    try:
        import envpool
    except ImportError as error:
        raise _missing("EnvPool") from error
    name = f"{_camel(job.scenario)}-v1"
    if name not in envpool.list_all_envs():
        raise UnavailableError(f"EnvPool has no environment {name}")
    envs = envpool.make_gymnasium(
        name,
        img_height=HEIGHT,
        img_width=WIDTH,
        stack_num=1,
        frame_skip=FRAME_SKIP,
        use_combined_action=True,
        # The faster one of its two ways to resize.
        use_inter_area_resize=False,
        # The same buttons and rendering switches as the others; it ignores the size.
        cfg_path=str(scenarios.find(job.scenario).cfg),
        **job.setting,
    )
    try:
        return _step_envpool(envs, job)
    finally:
        envs.close()


def _step_envpool(envs, job: Job) -> dict[str, Any]:
    batch = job.setting["batch_size"]
    actions = np.random.default_rng(0).integers(
        0, envs.action_space.n, (_NUM_PREPARED, batch)
    )
    clock = Clock(job)
    at = 0
    # Sent and received apart, as EnvPool's asynchronous mode is used; with a batch of
    # all environments this is its synchronous mode.
    envs.async_reset()
    for _ in clock.windows():
        while clock.running():
            info = envs.recv()[-1]
            at = (at + 1) % _NUM_PREPARED
            envs.send(actions[at], info["env_id"])
            # The call after an episode's end resets and steps no frame.
            clock.steps += batch - int((info["elapsed_step"] == 0).sum())
    return clock.result()


# ----- shared by the peers


def _missing(
    what: str, remedy: str = "pip install 'jaxfactory[bench]'"
) -> UnavailableError:
    return UnavailableError(f"{what} is not installed; get it with {remedy}")


def _camel(scenario: str) -> str:
    return "".join(word.capitalize() for word in Path(scenario).stem.split("_"))


def _settle(index: int, *, pin: bool) -> None:
    """Give a worker process a folder of its own and, if wanted, a core."""
    # Engines that start in one folder would share one .ini file.
    folder = Path(f"worker-{index}")
    folder.mkdir()
    os.chdir(folder)
    if pin:
        cores = machine.cores()
        os.sched_setaffinity(0, {cores[index % len(cores)]})


def _resizer() -> Callable[[np.ndarray, np.ndarray], None]:
    """Return the fastest way to resize to the nearest pixel that is installed."""
    with contextlib.suppress(ImportError):
        import cv2

        cv2.setNumThreads(1)

        def with_opencv(screen: np.ndarray, image: np.ndarray) -> None:
            cv2.resize(screen, (WIDTH, HEIGHT), image, interpolation=cv2.INTER_NEAREST)

        return with_opencv

    def with_numpy(screen: np.ndarray, image: np.ndarray) -> None:
        rows = np.arange(HEIGHT) * screen.shape[0] // HEIGHT
        columns = np.arange(WIDTH) * screen.shape[1] // WIDTH
        np.take(screen[rows], columns, axis=1, out=image)

    return with_numpy


OURS = "jaxfactory"

CONTENDERS = {
    OURS: Contender(
        "jaxfactory pool (exact)", "160x120",
        "C++ threads; the caller sends actions and waits, group by group",
        _pool_settings, _run_pool,
    ),
    "doomgame": Contender(
        "DoomGame, free-running", "160x120",
        "its processes wait neither for actions nor for each other, so no learner can "
        "use it like this: its upper bound",
        _game_settings, _run_doom_game,
    ),
    "doomgame-lockstep": Contender(
        "DoomGame, in lockstep", "160x120",
        "each process waits for its caller before each step, as with a policy",
        _game_settings, _run_doom_game_in_lockstep,
    ),
    "gymnasium": Contender(
        "Gymnasium AsyncVectorEnv", "160x120",
        "ViZDoom's environment, given our .cfg and the smaller rendering",
        _process_settings, _run_gymnasium,
    ),
    "gymnasium-as-shipped": Contender(
        "Gymnasium, as shipped", "320x240",
        "ViZDoom's environment with its own .cfg and rendering",
        _process_settings, _run_gymnasium_as_shipped,
    ),
    "envpool": Contender(
        "EnvPool", "320x240",
        "renders 320x240 whatever its .cfg says, delivers channels first, "
        "resizes with its faster filter",
        _envpool_settings, _run_envpool,
    ),
}  # fmt: skip
