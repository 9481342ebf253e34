"""Train with an encoder of your own; the recurrent core and the heads stay ours.

    python examples/own_network.py
    jaxfactory train --scenario basic --network examples/own_network.py:Patches

A run records where its encoder came from, so that `jaxfactory evaluate`, `load` and
`train --run` find it again; `--network` tells them if it has moved.
"""

import jax.numpy as jnp
from flax import nnx

import jaxfactory


class Patches(nnx.Module):
    """Cuts the image into patches, looks at each alone, and takes the largest answers.

    What jaxfactory asks of an encoder: it is made of an observation's shape, the
    network's settings and random keys; it says in `num_features` how many features it
    makes; and its call maps a batch of N normalised observations to them. It may hold
    parameters only: no batch statistics, no dropout.
    """

    def __init__(self, spec, config, rngs):
        """Make the layers.

        Args:
            spec: `spec.image` is the image's (height, width, channels).
            config: The run's `NetworkConfig`; take from it what you like.
            rngs: For the layers' initial parameters.
        """
        self.size = 8
        inputs = self.size * self.size * spec.image[2]
        self.look = nnx.Linear(inputs, config.hidden_size, rngs=rngs)
        self.think = nnx.Linear(config.hidden_size, config.hidden_size, rngs=rngs)
        self.num_features = config.hidden_size

    def __call__(self, obs):
        """Return features, float32 [N, num_features].

        Args:
            obs: "image" is float32 [N, height, width, channels], of mean 0 and variance
                1 over what was seen so far.
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
    print(f"trained for {state.frames:,} frames; each patch is looked at by {shape}")
    score = jaxfactory.evaluate("runs/own_network", episodes=2, num_envs=2)
    print(f"return {score['raw_return']['mean']:.1f}")


if __name__ == "__main__":
    main()
