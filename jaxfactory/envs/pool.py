"""The pool of environments that a configuration or a name asks for, of either family.

NumPy only, as the pools themselves.
"""

from typing import Any

from jaxfactory.config.env import EnvConfig, gymnasium_id
from jaxfactory.envs.doom import engine_config
from jaxfactory.envs.doom.pool import EnvPool
from jaxfactory.scenarios import scenario_table
from jaxfactory.scenarios.scenario import Scenario
from jaxfactory.spec import EnvSpec


def make_pool(
    scenario: str | Scenario | EnvConfig = "health_gathering_supreme",
    *,
    num_envs: int = 16,
    seed: int = 0,
    frame_skip: int | None = None,
    **options,
) -> Any:
    """Start a pool of environments.

    Args:
        scenario: A scenario or its name, the path of a .cfg file, ``gymnasium:`` and
            the name of an environment of Gymnasium's, or a whole `EnvConfig` (then
            `num_envs` and `frame_skip` are its own).
        num_envs: Environments stepped in parallel.
        seed: The same seed and actions give the same episodes.
        frame_skip: Frames that each action is held for; by default 4 of Doom's tics, or
            1 step of Gymnasium's.
        **options: Further fields of `EnvConfig` and arguments of `EnvPool` or
            `GymnasiumPool`.

    Returns:
        An `EnvPool`, or a `gymnasium_pool.GymnasiumPool`, which has the same face: a
        context manager; leaving it ends every engine.

    Raises:
        ValueError: If an option cannot work.

    Examples:
        >>> with make_pool("basic", num_envs=2) as pool:
        ...     step = pool.reset()
        ...     step = pool.step(np.zeros((2, 1), np.int32))
    """
    if isinstance(scenario, EnvConfig):
        return open_pool(scenario, seed=seed, **options)
    if isinstance(scenario, str) and gymnasium_id(scenario) is not None:
        return _make_gymnasium_pool(
            scenario, num_envs, 1 if frame_skip is None else frame_skip, seed, options
        )
    if frame_skip is None:
        frame_skip = EnvConfig.frame_skip
    fields = EnvConfig.__dataclass_fields__
    chosen = {name: options.pop(name) for name in list(options) if name in fields}
    row = scenario if isinstance(scenario, Scenario) else scenario_table.find(scenario)
    if "num_groups" not in chosen:
        agents = row.match.agents if row.match else 1
        pair = 2 * (chosen.get("num_agents") or agents)
        chosen["num_groups"] = 1 if num_envs % pair else 2
    name = scenario if isinstance(scenario, str) else row.name
    config = EnvConfig(
        scenario=name, num_envs=num_envs, frame_skip=frame_skip, **chosen
    )
    return EnvPool(config, scenario=row, seed=seed, **options)


def _make_gymnasium_pool(
    name: str, num_envs: int, frame_skip: int, seed: int, options: dict[str, Any]
) -> Any:
    fields = EnvConfig.__dataclass_fields__
    chosen = {key: options.pop(key) for key in list(options) if key in fields}
    chosen = {"num_groups": 1, **chosen}
    config = EnvConfig(
        scenario=name, num_envs=num_envs, frame_skip=frame_skip, **chosen
    )
    return open_pool(config, seed=seed, **options)


def open_pool(config: EnvConfig, **options: Any) -> Any:
    """Start the pool that a configuration asks for.

    Args:
        config: The environments.
        **options: Arguments of `EnvPool` or `GymnasiumPool`.

    Returns:
        An `EnvPool` or a `gymnasium_pool.GymnasiumPool`.
    """
    if gymnasium_id(config.scenario) is None:
        return EnvPool(config, **options)
    from jaxfactory.envs.gymnasium.pool import GymnasiumPool

    return GymnasiumPool(config, **options)


def env_spec(config: EnvConfig, scenario: Scenario | None = None) -> EnvSpec:
    """Return the shapes of observations and actions, without starting an engine.

    Args:
        config: The environments.
        scenario: Instead of the one that `config` names.

    Raises:
        UserError: If the scenario or its map is not there.
    """
    if gymnasium_id(config.scenario) is not None:
        from jaxfactory.envs.gymnasium import pool

        return pool.env_spec(config)
    return engine_config.env_spec(config, scenario)
