"""A custom scenario with a shaping function in Python: a reward for moving.

The function is called once per step for a group of environments. It receives the game
variables that the .cfg file names, as arrays with one value per environment::

    python examples/exploring.py
    jaxfactory train --scenario examples/exploring.py:exploring
"""

from pathlib import Path

import numpy as np

import jaxfactory
from jaxfactory import Scenario


def ground_covered(previous, current, first, last):
    """Return a reward of 0.001 per map unit that the player moved."""
    x = current["POSITION_X"] - previous["POSITION_X"]
    y = current["POSITION_Y"] - previous["POSITION_Y"]
    return 0.001 * np.hypot(x, y)


# Registered under a name for this process. The agent sees pixels only; the position is
# used for the reward.
jaxfactory.register(
    Scenario(
        name="exploring",
        cfg=Path(__file__).parent / "exploring.cfg",
        shaping=ground_covered,
        measurements="none",
    )
)


def main() -> None:
    """Act at random for 2,000 tics and print the returns."""
    with jaxfactory.make_pool("exploring", num_envs=4) as pool:
        heads = pool.spec.action.heads
        rng = np.random.default_rng(0)
        pool.reset()
        for _ in range(500):
            actions = rng.integers(0, heads, (4, len(heads)), dtype=np.int32)
            step = pool.step(actions)
        shaped, raw = step.info.episode_shaped_return, step.info.episode_raw_return
        for number in range(4):
            print(f"environment {number}: {shaped[number]:.2f}, raw {raw[number]:.2f}")


if __name__ == "__main__":
    main()
