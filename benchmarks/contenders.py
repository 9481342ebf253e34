"""Who is measured: each steps Doom with random actions and says how fast.

All deliver images of 72x128 in RGB as uint8 and hold each action for `FRAME_SKIP` tics.
Peers are imported inside functions: each in its own process only.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import run_doomgame
import run_envpool
import run_gymnasium
import run_pool
import run_sample_factory
import run_vector_env
from measuring import Job, Setting, process_settings


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


OURS = "jaxfactory"

CONTENDERS = {
    OURS: Contender(
        "jaxfactory pool (exact)", "160x120",
        "C++ threads; the caller sends actions and waits, group by group",
        run_pool.settings, run_pool.run,
    ),
    "jaxfactory-stock": Contender(
        "jaxfactory pool, stock engine", "160x120",
        "the same with --engine stock: the engine's code is left as it was shipped",
        run_pool.settings, run_pool.run_stock,
    ),
    "jaxfactory-queued": Contender(
        "jaxfactory pool, queued tics", "160x120",
        "the same with --tics queued: a step's tics are sent at once",
        run_pool.settings, run_pool.run_queued,
    ),
    "vector-env": Contender(
        "jaxfactory VectorEnv", "160x120",
        "the pool through gymnasium.make_vec: steps all, waits, copies what it returns "
        "(unless its setting says copy False)",
        run_vector_env.settings, run_vector_env.run,
    ),
    "doomgame": Contender(
        "DoomGame, free-running", "160x120",
        "its processes wait neither for actions nor for each other, so no learner can "
        "use it like this: its upper bound",
        run_doomgame.settings, run_doomgame.run,
    ),
    "doomgame-lockstep": Contender(
        "DoomGame, in lockstep", "160x120",
        "each process waits for its caller before each step, as with a policy",
        run_doomgame.settings, run_doomgame.run_in_lockstep,
    ),
    "gymnasium": Contender(
        "Gymnasium AsyncVectorEnv", "160x120",
        "ViZDoom's environment, given our .cfg and the smaller rendering",
        process_settings, run_gymnasium.run,
    ),
    "gymnasium-as-shipped": Contender(
        "Gymnasium, as shipped", "320x240",
        "ViZDoom's environment with its own .cfg and rendering",
        process_settings, run_gymnasium.run_as_shipped,
    ),
    "sample-factory": Contender(
        "Sample Factory's environments", "160x120",
        "its own environments in processes that wait neither for actions nor for each "
        "other",
        process_settings, run_sample_factory.run,
    ),
    "envpool": Contender(
        "EnvPool", "320x240",
        "renders 320x240 whatever its .cfg says, delivers channels first, "
        "resizes with its faster filter",
        run_envpool.settings, run_envpool.run,
    ),
}  # fmt: skip
