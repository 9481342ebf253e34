"""Whether a run's environments fit into the machine's memory, and how many do."""

import dataclasses

from jaxfactory._util.errors import UserError
from jaxfactory._util.machine import memory
from jaxfactory.config import families
from jaxfactory.config.train import Config


# Training health_gathering_supreme with the default network on the CPU took 820 MB at
# its peak with 64 environments in bfloat16, 990 MB in float32, and 660 MB with 16 in
# float32. The smallest networks took 780 MB with 64, 650 MB with 32 and 590 MB with 16,
# and with 32 and a limit of 650 MB the system killed them.
_TRAINER = 510e6
_ENGINE = 4e6
# An engine's shared memory beside its screen, and the screen's bytes for each pixel.
_SHARED, _PIXEL = 75e3, 3
_FEWEST = 4


def fitted(config: Config, chosen: bool) -> tuple[Config, str]:
    """Return settings whose environments fit into memory, and a note if they changed.

    Args:
        config: The run's settings.
        chosen: Whether the user or an existing run chose the number of environments,
            which is then not changed.

    Raises:
        UserError: If they do not fit.
    """
    if families.of(config.env.scenario) is not families.FAMILIES[""]:
        return config, ""  # What another family's environments take is not known.
    lacks = _lacks(config)
    if not lacks:
        return config, ""
    smaller: Config | None = config
    while smaller is not None and _lacks(smaller):
        smaller = _halved(smaller)
    if smaller is None:
        raise UserError(f"{lacks}, and fewer do not fit either; free some of it")
    fewer = smaller.env.num_envs
    if chosen:
        raise UserError(f"{lacks}; use --num-envs {fewer}, or free some of it")
    return smaller, f"{lacks}: training with {fewer}; --num-envs sets the number"


def _lacks(config: Config) -> str:
    """Return what is too small for the settings; "" if they fit."""
    env = config.env
    width, height = env.screen
    shared = env.num_envs * (_SHARED + _PIXEL * width * height)
    channels = 1 if env.grayscale else 3
    image = env.width * env.height * channels * env.frame_stack
    rollouts = 2 * (config.ppo.num_steps + 1) * image
    wanted = _TRAINER + env.num_envs * (_ENGINE + rollouts)
    for name, needed, free in (
        ("memory", wanted, memory.free_memory()),
        ("/dev/shm", shared, memory.free_shared()),
    ):
        if needed > free:
            return (
                f"{env.num_envs} environments need about {needed / 1e6:,.0f} MB of "
                f"{name}, and {free / 1e6:,.0f} MB are free"
            )
    return ""


def _halved(config: Config) -> Config | None:
    """Return the settings with half as many environments, or the next valid number."""
    number = config.env.num_envs // 2
    while number >= _FEWEST:
        try:
            env = dataclasses.replace(config.env, num_envs=number)
            return dataclasses.replace(config, env=env)
        except UserError:  # No multiple of groups or minibatches, for example.
            number -= 1
    return None
