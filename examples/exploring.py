"""A scenario of one's own whose shaping is a Python function: pay for covering ground.

The function is called once a step for a whole group of environments, with the game
variables that the .cfg file names, each an array with one value an environment::

    python examples/exploring.py
    jaxfactory train --scenario examples/exploring.py:exploring
"""

from pathlib import Path

import numpy as np

import jaxfactory
from jaxfactory import Scenario


def ground_covered(previous, current, first, last):
    """Pay 0.001 for each map unit that the player moved by."""
    x = current["POSITION_X"] - previous["POSITION_X"]
    y = current["POSITION_Y"] - previous["POSITION_Y"]
    return 0.001 * np.hypot(x, y)


# Registered, so that in this process its name alone is enough. The agent sees pixels
# only: the place is for the reward.
jaxfactory.register(
    Scenario(
        name="exploring",
        cfg=Path(__file__).parent / "exploring.cfg",
        shaping=ground_covered,
        measurements="none",
    )
)


def main() -> None:
    """Play at random for 2,000 tics and print what is paid."""
    with jaxfactory.make_pool("exploring", num_envs=4) as pool:
        heads = pool.spec.action.heads
        rng = np.random.default_rng(0)
        pool.reset()
        for _ in range(500):
            actions = rng.integers(0, heads, (4, len(heads)), dtype=np.int32)
            step = pool.step(actions)
        shaped, own = step.info.episode_shaped_return, step.info.episode_raw_return
        for number in range(4):
            print(f"environment {number}: {shaped[number]:.2f}, own {own[number]:.2f}")


if __name__ == "__main__":
    main()
