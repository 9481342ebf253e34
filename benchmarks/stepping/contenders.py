"""The contenders of fps.py; each steps Doom with random actions.

All deliver 72x128 RGB images as uint8 and use a frame skip of `FRAME_SKIP`. Other
libraries are imported inside functions, each in its own process only.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from stepping import (
    run_doomgame,
    run_envpool,
    run_gymnasium,
    run_pool,
    run_sample_factory,
    run_vector_env,
)
from stepping.measuring import Job, Setting, process_settings


class Contender(NamedTuple):
    """A way to step many Doom games.

    Attributes:
        label: Name in tables and charts.
        rendered: The engine's resolution before resizing.
        note: How it differs from the others.
        settings: Returns the settings to try for a number of cores, the default first.
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
        "the same with --engine stock: the engine's code is not patched",
        run_pool.settings, run_pool.run_stock,
    ),
    "jaxfactory-queued": Contender(
        "jaxfactory pool, queued tics", "160x120",
        "the same with --tics queued: all tics of a step are sent at once",
        run_pool.settings, run_pool.run_queued,
    ),
    "vector-env": Contender(
        "jaxfactory VectorEnv", "160x120",
        "the pool through gymnasium.make_vec: steps all environments, waits, and "
        "copies observations (unless its setting has copy False)",
        run_vector_env.settings, run_vector_env.run,
    ),
    "doomgame": Contender(
        "DoomGame, free-running", "160x120",
        "its processes wait neither for actions nor for each other: an upper bound "
        "that no learner can reach",
        run_doomgame.settings, run_doomgame.run,
    ),
    "doomgame-lockstep": Contender(
        "DoomGame, in lockstep", "160x120",
        "each process waits for its caller before each step, as with a real policy",
        run_doomgame.settings, run_doomgame.run_in_lockstep,
    ),
    "gymnasium": Contender(
        "Gymnasium AsyncVectorEnv", "160x120",
        "ViZDoom's environment with our .cfg and the lower resolution",
        process_settings, run_gymnasium.run,
    ),
    "gymnasium-as-shipped": Contender(
        "Gymnasium, as shipped", "320x240",
        "ViZDoom's environment with its own .cfg and resolution",
        process_settings, run_gymnasium.run_as_shipped,
    ),
    "sample-factory": Contender(
        "Sample Factory's environments", "160x120",
        "its own environments; the processes wait neither for actions nor for each "
        "other",
        process_settings, run_sample_factory.run,
    ),
    "envpool": Contender(
        "EnvPool", "320x240",
        "always renders 320x240, delivers channels first, resizes with its faster "
        "filter",
        run_envpool.settings, run_envpool.run,
    ),
}  # fmt: skip
