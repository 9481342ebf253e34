"""A custom scenario in Python: "defend_the_center" with a table of shaping terms.

Run this file, or name the scenario on the command line like a built-in one::

    python examples/saving_ammunition.py
    jaxfactory train --scenario examples/saving_ammunition.py:SCENARIO
"""

import argparse
from pathlib import Path

from jaxfactory import Config, EnvConfig, HeldWeapon, Measurement, Scenario, Shaping
from jaxfactory.scenarios.scenario_table import CFG_FOLDER


SCENARIO = Scenario(
    name="saving_ammunition",
    cfg=CFG_FOLDER / "defend_the_center.cfg",
    # Rewards per unit of change of a variable between steps, computed in C++.
    shaping=(
        Shaping("AMMO2", fall=-0.05),
        Shaping("HEALTH", rise=0.01, fall=-0.01),
        Shaping("HITCOUNT", rise=0.1, cap=1.0),
        HeldWeapon(0.001),
    ),
    # Inputs of the agent besides the image.
    measurements=(Measurement("AMMO2", 26.0), Measurement("HEALTH", 100.0, cap=1.0)),
)


def main() -> None:
    """Train on it and print the score."""
    # Import JAX here, so that importing the scenario does not start it.
    from jaxfactory._util import jax_setup

    jax_setup.configure()
    from jaxfactory.config.train import EvaluateOptions
    from jaxfactory.evaluation.evaluate import run
    from jaxfactory.metrics.terminal_writer import TerminalWriter
    from jaxfactory.training.loop import train

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--total-frames", type=int, default=1_000_000)
    parser.add_argument("--num-envs", type=int, default=64)
    parser.add_argument("--run", type=Path, default=Path("runs/saving_ammunition"))
    options = parser.parse_args()
    config = Config(
        env=EnvConfig(num_envs=options.num_envs), total_frames=options.total_frames
    )
    writer = TerminalWriter(options.run, options.total_frames)
    train(config, options.run, scenario=SCENARIO, writer=writer)
    # `jaxfactory evaluate --run ...` also finds this file again.
    run(EvaluateOptions(run=options.run, episodes=20), scenario=SCENARIO)


if __name__ == "__main__":
    main()
