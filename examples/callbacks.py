"""Metrics of your own, and ending a training when you have seen enough.

    python examples/callbacks.py
    jaxfactory train --scenario basic --callback examples/callbacks.py:action_shares

A callback is called after every update with a `jaxfactory.Iteration`. What it returns
is written to metrics.jsonl and TensorBoard with the others. If it raises, the run is
saved, and then ends with its traceback.
"""

import json
from pathlib import Path

import numpy as np

import jaxfactory


def action_shares(iteration: jaxfactory.Iteration) -> dict[str, float]:
    """How often each choice of the first action head was taken."""
    action = np.asarray(iteration.rollout.action)[..., 0]  # [T, B]
    return {
        f"own/action_{index}": float(np.mean(action == index))
        for index in range(action.max() + 1)
    }


class StopWhenBored:
    """Ends the training when the policy has become too certain, or after some time."""

    def __init__(self, entropy: float, updates: int):
        """Say when."""
        self.entropy = entropy
        self.updates = updates

    def __call__(self, iteration: jaxfactory.Iteration) -> None:
        """Look at the metrics that jaxfactory itself writes."""
        if iteration.metrics["losses/entropy"] < self.entropy:
            iteration.stop("the policy hardly tries anything new")
        if int(iteration.state.step) >= self.updates:
            iteration.stop(f"{self.updates} updates are enough")


def main() -> None:
    """Train with both, and show what was written."""
    config = jaxfactory.Config(
        env=jaxfactory.EnvConfig(scenario="basic", num_envs=4),
        network=jaxfactory.NetworkConfig(
            conv_channels=(8, 16, 16), hidden_size=32, core_size=32
        ),
        ppo=jaxfactory.PPOConfig(num_steps=8),
        total_frames=1_000_000,
    )
    run = Path("runs/callbacks")
    state = jaxfactory.train(
        config, run, callbacks=[action_shares, StopWhenBored(entropy=0.1, updates=5)]
    )
    print(f"stopped after {state.frames:,} frames")
    last = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    for name, value in last.items():
        if name.startswith("own/"):
            print(f"{name} {value:.2f}")


if __name__ == "__main__":
    main()
