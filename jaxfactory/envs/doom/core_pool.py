"""Starts the C++ pool of a resolved environment and wraps its arrays."""

import numpy as np

from jaxfactory._util import paths
from jaxfactory.config import sizing
from jaxfactory.envs.doom import engine_config
from jaxfactory.envs.doom.extension import _core
from jaxfactory.envs.doom.resolve import ResolvedDoom


def start(
    env: ResolvedDoom,
    variables: list[str],
    *,
    restart_failed: bool,
    engine_timeout: float,
    start_timeout: float,
    stagger: int,
    **options: object,
) -> _core.Pool:
    """Start the engines of a pool.

    Args:
        env: The environment.
        variables: Names of the game variables to report.
        restart_failed: Replace an engine that fails, instead of raising.
        engine_timeout: Seconds that an engine may take for one tic.
        start_timeout: Seconds that an engine may take to start.
        stagger: Tics after which a first episode is truncated at the latest; 0 for no
            truncation.
        **options: Further fields of `_core.PoolConfig`.

    Raises:
        UserError: If a game variable does not exist.
    """
    doom = env.engine  # Copied by the core, so pools can share it.
    doom.variables = [engine_config.variable(name) for name in variables]
    doom.restart_failed = restart_failed
    doom.stagger = stagger
    doom.engine.directory = str(paths.engine_folder())
    doom.engine.timeout = engine_timeout
    doom.engine.start_timeout = start_timeout
    pool = _core.PoolConfig()
    pool.num_envs = env.config.num_envs
    pool.rows_per_env = env.agents
    pool.num_groups = env.config.num_groups
    pool.num_workers = env.config.num_workers
    for name, value in options.items():
        setattr(pool, name, value)
    cores = sizing.usable_cores()
    if cores < len(_core.usable_cores()):
        # A limit of time, of no certain cores: the system chooses them.
        pool.pin = False
        pool.num_workers = pool.num_workers or cores
    return _core.Pool(doom, pool)


def arrays(pool: _core.Pool, image: tuple[int, int, int]) -> dict[str, np.ndarray]:
    """Return views of a pool's arrays, with images in shape."""
    found = pool.arrays()
    for name in ("obs", "final_obs"):
        found[name] = found[name].reshape(*found[name].shape[:-1], *image)
    return found
