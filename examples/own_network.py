"""Train with a custom encoder; the recurrent core and the heads stay the same.

    python examples/own_network.py
    jaxfactory train --scenario basic --network examples/own_network.py:Patches

A run records the path of its encoder, so that `jaxfactory evaluate`, `load` and
`train --run` find it again; `--network` gives a new path if the file has moved.
"""

import jax.numpy as jnp
from flax import nnx

import jaxfactory


class Patches(nnx.Module):
    """Splits the image into patches, encodes each, and takes the maximum over patches.

    An encoder is constructed from the observation's shape, the network's settings and
    random keys. Its `num_features` is the number of features, and its call maps a batch
    of N normalized observations to them. It may have parameters only: no batch
    statistics, no dropout.
    """

    def __init__(self, spec, config, rngs):
        """Create the layers.

        Args:
            spec: `spec.image` is the image's (height, width, channels).
            config: The run's `NetworkConfig`.
            rngs: Random keys for the initial parameters.
        """
        self.size = 8
        inputs = self.size * self.size * spec.image[2]
        self.look = nnx.Linear(inputs, config.hidden_size, rngs=rngs)
        self.think = nnx.Linear(config.hidden_size, config.hidden_size, rngs=rngs)
        self.num_features = config.hidden_size

    def __call__(self, obs):
        """Return features, float32 [N, num_features].

        Args:
            obs: "image" is float32 [N, height, width, channels], normalized by running
                mean and variance.
        """
        x = obs["image"]
        n, height, width, channels = x.shape
        rows, columns, size = height // self.size, width // self.size, self.size
        x = x[:, : rows * size, : columns * size]
        x = x.reshape(n, rows, size, columns, size, channels)
        x = jnp.moveaxis(x, 2, 3).reshape(n, rows * columns, size * size * channels)
        return nnx.relu(self.think(nnx.relu(self.look(x)).max(1)))


def main() -> None:
    """Train a few updates and evaluate."""
    config = jaxfactory.Config(
        env=jaxfactory.EnvConfig(scenario="basic", num_envs=4),
        network=jaxfactory.NetworkConfig(hidden_size=32, core_size=32),
        ppo=jaxfactory.PPOConfig(num_steps=8),
        total_frames=1_024,
    )
    state = jaxfactory.train(config, "runs/own_network", encoder=Patches)
    shape = state.params["encoder"]["look"]["kernel"].shape
    print(f"trained for {state.frames:,} frames; the patch layer has shape {shape}")
    score = jaxfactory.evaluate("runs/own_network", episodes=2, num_envs=2)
    print(f"return {score['raw_return']['mean']:.1f}")


if __name__ == "__main__":
    main()
