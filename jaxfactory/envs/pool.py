"""`make_pool`: starts the pool for a name or a configuration."""

from typing import Any

from jaxfactory.config.env import EnvConfig, split_options
from jaxfactory.envs import family
from jaxfactory.scenarios.scenario import Scenario
from jaxfactory.spec import EnvSpec


def make_pool(
    scenario: str | Scenario | EnvConfig = "health_gathering_supreme",
    *,
    num_envs: int = 16,
    seed: int = 0,
    frame_skip: int | None = None,
    **options: Any,
) -> Any:
    """Start a pool of environments.

    Args:
        scenario: A `Scenario` or the name of one, the path of a .cfg file,
            ``gymnasium:`` and the name of a Gymnasium environment, or an `EnvConfig`
            (which has its own `num_envs` and `frame_skip`).
        num_envs: Environments stepped in parallel.
        seed: The same seed and actions give the same episodes.
        frame_skip: Frames that each action is repeated for; by default 4 tics in Doom
            and 1 step in Gymnasium.
        **options: Further fields of `EnvConfig`, and arguments of `EnvPool` or
            `GymnasiumPool`.

    Returns:
        An `EnvPool`, or a `GymnasiumPool` with the same interface: a context manager
        that ends every engine on exit.

    Raises:
        ValueError: If an option is invalid.

    Examples:
        >>> with make_pool("basic", num_envs=2) as pool:
        ...     step = pool.reset()
        ...     step = pool.step(np.zeros((2, 1), np.int32))
    """
    if isinstance(scenario, EnvConfig):
        return open_pool(family.resolve(scenario), seed=seed, **options)
    fields, options = split_options(options)
    config = family.of(scenario).complete(scenario, num_envs, frame_skip, fields)
    given = None if isinstance(scenario, str) else scenario
    return open_pool(family.resolve(config, given), seed=seed, **options)


def open_pool(environment: Any, **options: Any) -> Any:
    """Start a pool of a resolved environment.

    Args:
        environment: What `family.resolve` returned.
        **options: Arguments of `EnvPool` or `GymnasiumPool`.
    """
    return family.of(environment.config.scenario).make_pool(environment, **options)


def env_spec(config: EnvConfig, scenario: Scenario | None = None) -> EnvSpec:
    """Return the shapes of observations and actions, without starting an engine.

    Args:
        config: The environments.
        scenario: Instead of the one that `config` names.

    Raises:
        UserError: If the scenario or its map does not exist.
    """
    return family.resolve(config, scenario).spec
