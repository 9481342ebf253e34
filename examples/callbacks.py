"""Log your own metrics and stop a training run early.

    python examples/callbacks.py
    jaxfactory train --scenario basic --callback examples/callbacks.py:action_shares

A callback is called after every update with a `jaxfactory.Iteration`. The metrics that
it returns are written to metrics.jsonl and TensorBoard. If it raises, the run is saved
and then ends with its traceback.
"""

import json
from pathlib import Path

import numpy as np

import jaxfactory


def action_shares(iteration: jaxfactory.Iteration) -> dict[str, float]:
    """Return the frequency of each action of the first action head."""
    action = np.asarray(iteration.rollout.action)[..., 0]  # [T, B]
    return {
        f"own/action_{index}": float(np.mean(action == index))
        for index in range(action.max() + 1)
    }


class StopWhenBored:
    """Stops training at a low entropy, or after a number of updates."""

    def __init__(self, entropy: float, updates: int):
        """Set the thresholds."""
        self.entropy = entropy
        self.updates = updates

    def __call__(self, iteration: jaxfactory.Iteration) -> None:
        """Check the metrics that jaxfactory itself writes."""
        if iteration.metrics["losses/entropy"] < self.entropy:
            iteration.stop("the entropy is low")
        if int(iteration.state.step) >= self.updates:
            iteration.stop(f"{self.updates} updates are enough")


def main() -> None:
    """Train with both callbacks and print the logged metrics."""
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
