"""Train, evaluate and load an agent from Python.

    python examples/train_from_python.py

The settings are tiny, so that it runs in seconds and learns nothing. For an agent that
learns, leave out `network` and `ppo`, and set `total_frames` to some millions.
"""

import jaxfactory


def main() -> None:
    """Train (or resume) runs/example, evaluate it, and load the agent."""
    config = jaxfactory.Config(
        env=jaxfactory.EnvConfig(scenario="basic", num_envs=4),
        network=jaxfactory.NetworkConfig(
            conv_channels=(8, 16, 16), hidden_size=32, core_size=32
        ),
        ppo=jaxfactory.PPOConfig(num_steps=8),
        total_frames=2_048,
    )
    # Like `jaxfactory train --run runs/example ...`: writes metrics.jsonl, TensorBoard
    # files and checkpoints there, and resumes an existing run.
    state = jaxfactory.train(config, "runs/example", show=True)
    print(f"trained for {state.frames:,} frames, {int(state.step)} updates")

    score = jaxfactory.evaluate("runs/example", episodes=4, num_envs=4)
    raw, episodes = score["raw_return"], score["episodes"]
    print(f"return {raw['mean']:.1f} +- {raw['std']:.1f} over {episodes} episodes")

    agent = jaxfactory.load("runs/example")
    print(f"the agent chooses from {agent.spec.action.names}")


if __name__ == "__main__":
    main()
