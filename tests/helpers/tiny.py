"""Training runs that take seconds and learn nothing.

Most tests share these shapes, and with them the compiled programs: whatever changes a
shape is compiled once more.
"""

import dataclasses
from typing import Any

from jaxfactory.config.train import Config, EnvConfig, NetworkConfig, PPOConfig


NETWORK = NetworkConfig(conv_channels=(4, 4, 4), hidden_size=16, core_size=16)
PPO = PPOConfig(num_steps=8, num_minibatches=2, num_epochs=2)
# The same on the command line.
FLAGS = (
    "--num-envs", "4", "--num-steps", "8", "--num-minibatches", "2",
    "--conv-channels", "4", "4", "4", "--hidden-size", "16", "--core-size", "16",
)  # fmt: skip


def tiny_config(
    scenario: str = "basic",
    updates: int = 1,
    *,
    env: dict[str, Any] | None = None,
    network: dict[str, Any] | None = None,
    ppo: dict[str, Any] | None = None,
    **changes: Any,
) -> Config:
    """Return a config of 4 environments in 2 groups, and a network of 16 features.

    `env`, `network` and `ppo` change single settings of those sections, `changes` those
    of the whole. `total_frames` is what `updates` rollouts take.
    """
    env_config = EnvConfig(
        **{"scenario": scenario, "num_envs": 4, "num_groups": 2, **(env or {})}
    )
    ppo_config = dataclasses.replace(PPO, **(ppo or {}))
    frames = env_config.num_envs * ppo_config.num_steps * env_config.frame_skip
    return Config(
        env=env_config,
        network=dataclasses.replace(NETWORK, **(network or {})),
        ppo=ppo_config,
        **{"total_frames": updates * frames, **changes},
    )
