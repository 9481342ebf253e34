"""Train, score and load an agent from Python.

    python examples/train_from_python.py

The settings are tiny, so that it runs in seconds and learns nothing. Leave `network`
and `ppo` out, and set `total_frames` to some millions, for an agent that does.
"""

import jaxfactory


def main() -> None:
    """Train under runs/example, go on with it, and score it."""
    config = jaxfactory.Config(
        env=jaxfactory.EnvConfig(scenario="basic", num_envs=4),
        network=jaxfactory.NetworkConfig(
            conv_channels=(8, 16, 16), hidden_size=32, core_size=32
        ),
        ppo=jaxfactory.PPOConfig(num_steps=8),
        total_frames=2_048,
    )
    # The same as `jaxfactory train --run runs/example ...`: metrics.jsonl, TensorBoard
    # files and checkpoints lie there, and a run that is there already goes on.
    state = jaxfactory.train(config, "runs/example", show=True)
    print(f"trained for {state.frames:,} frames, {int(state.step)} updates")

    score = jaxfactory.evaluate("runs/example", episodes=4, num_envs=4)
    own = score["raw_return"]
    print(
        f"return {own['mean']:.1f} +- {own['std']:.1f} over {score['episodes']} games"
    )

    agent = jaxfactory.load("runs/example")
    print(f"the agent chooses from {agent.spec.action.names}")


if __name__ == "__main__":
    main()
