"""How many environments and workers suit a machine: what `auto` stands for.

More environments make a step's batch cheaper for the network, fewer fit the engines
into the caches better. On 2 cores without a GPU the default preset was measured with 32
for each core. A GPU makes the batch almost free and waits for the engines, so that it
gets twice as many; that number is a guess until it is measured.
"""

from typing import NamedTuple


_ENVS_PER_CORE = 32
_ENVS_PER_CORE_WITH_GPU = 64
# From so many cores on, one is left to the threads that act and learn through a GPU.
_CORES_TO_SPARE = 8
AUTO_FLAGS = ("--num-envs", "--num-workers")


class Sizes(NamedTuple):
    """What was chosen, and why."""

    num_envs: int
    num_workers: int
    reason: str


def choose(cores: int, *, gpu: bool) -> Sizes:
    """Return sizes for a machine.

    Args:
        cores: That this process may use.
        gpu: Whether the network runs on one.
    """
    per_core = _ENVS_PER_CORE_WITH_GPU if gpu else _ENVS_PER_CORE
    workers = cores - 1 if gpu and cores >= _CORES_TO_SPARE else cores
    where = "with a GPU" if gpu else "without a GPU"
    reason = f"{per_core} environments for each worker, on {cores} cores {where}"
    return Sizes(per_core * workers, workers, reason)


def wants_auto(args: list[str]) -> bool:
    """Whether a command line asks for `auto` anywhere."""
    return any(_is_auto(args, index) for index in range(len(args)))


def fill_in(args: list[str], sizes: Sizes) -> list[str]:
    """Return a command line with what was chosen in the place of every `auto`."""
    chosen = {"--num-envs": sizes.num_envs, "--num-workers": sizes.num_workers}
    filled = list(args)
    for index in range(len(args)):
        if _is_auto(args, index):
            flag, equals, _ = args[index].partition("=")
            if equals:
                filled[index] = f"{flag}={chosen[_named(flag)]}"
            else:
                filled[index + 1] = str(chosen[_named(flag)])
    return filled


def _is_auto(args: list[str], index: int) -> bool:
    flag, equals, value = args[index].partition("=")
    if _named(flag) not in AUTO_FLAGS:
        return False
    return value == "auto" if equals else args[index + 1 : index + 2] == ["auto"]


def _named(flag: str) -> str:
    return flag.replace("_", "-")
