"""Presets: complete configurations by name, which supply the defaults of a run."""

from jaxfactory.config.env import EnvConfig
from jaxfactory.config.train import Config, NetworkConfig, PPOConfig


PRESETS: dict[str, Config] = {
    # A smaller network and two epochs per rollout: reaches a score sooner.
    "default": Config(),
    # For rewards that follow their actions within seconds: learns sooner what to look
    # at (docs/decisions.md, "What the first frames of training wait for").
    "short_horizon": Config(
        network=NetworkConfig(init_gain=2.45, core_skip=True, policy_gain=0.01),
        ppo=PPOConfig(
            learning_rate=5e-4,
            gamma=0.97,
            clip_eps=0.2,
            value_clip=0.0,
            balance_coef=0.1,
            schedule=("balance_coef=linear:0:120000:280000",),
            num_steps=16,
        ),
        stagger=400,
    ),
    # The settings of published Doom scores (Sample Factory).
    "reference": Config(
        env=EnvConfig(num_envs=32),
        network=NetworkConfig(
            conv_channels=(32, 64, 128), hidden_size=512, core_size=512
        ),
        ppo=PPOConfig(
            num_minibatches=1,
            num_epochs=1,
            learning_rate=1e-4,
            lr_schedule="constant",
            objective="clipped",
            ent_coef=0.001,
            bootstrap_truncated=False,
        ),
    ),
    # Default for Gymnasium environments: cheap to step, mostly fully observed, without
    # images.
    "gymnasium": Config(
        env=EnvConfig(
            scenario="gymnasium:CartPole-v1", num_envs=16, num_groups=1, frame_skip=1
        ),
        network=NetworkConfig(core="none", measurements_sizes=(64, 64)),
        ppo=PPOConfig(
            num_steps=128,
            num_epochs=4,
            learning_rate=1e-3,
            clip_eps=0.2,
            ent_coef=0.001,
        ),
        total_frames=300_000,
    ),
}
