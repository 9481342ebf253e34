"""The settings of a training run and of an evaluation: defaults and bounds.

Frozen dataclasses, validated when made: a value that cannot work raises a
``UserError`` (a ``ValueError``) whose sentence carries the value, the reason and the
remedy.
"""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from jaxfactory._util import plain_json
from jaxfactory._util.errors import UserError
from jaxfactory.config import typed_fields, validation
from jaxfactory.config.env import MAX_ENVS, EnvConfig
from jaxfactory.config.network import NetworkConfig as NetworkConfig


# More than these cannot be meant; a file that holds more would start processes or take
# memory without end.
MAX_FRAMES = plain_json.MOST_FRAMES
MAX_EPISODES = 1_000_000


@dataclass(frozen=True, kw_only=True)
class PPOConfig:
    """Proximal policy optimisation.

    Examples:
        >>> PPOConfig(num_steps=16, learning_rate=1e-4).num_epochs
        2
    """

    num_steps: int = 32
    """Steps of each environment in a rollout; also the recurrent chunk."""
    num_minibatches: int = 4
    """Minibatches that the environments of a rollout are split into."""
    num_epochs: int = 2
    """Passes over each rollout."""
    learning_rate: float = 3e-4
    """Adam's step size."""
    lr_schedule: Literal["constant", "decay"] = "decay"
    """Keep the step size, or lower it to a tenth over the second half of training."""
    adam_eps: float = 1e-6
    """Adam's epsilon."""
    max_grad_norm: float = 4.0
    """Global gradient norm above which gradients are scaled down; 0 turns it off."""
    gamma: float = 0.99
    """Discount of a decision."""
    gae_lambda: float = 0.95
    """Exponential weight of the advantage estimator."""
    advantages: Literal["gae", "vtrace"] = "gae"
    """Advantage estimator; vtrace corrects for actions of an older policy."""
    objective: Literal["decoupled", "clipped"] = "decoupled"
    """What the clip holds on to with --mode async: the policy that an update begins
    with (the older one that acted then only weighs the samples), or the one that
    acted. With --mode sync they are the same."""
    clip_eps: float = 0.1
    """The ratio is clipped to [1/(1+eps), 1+eps]."""
    value_clip: float = 0.2
    """How far a value may move from the acting one in an update, in normalised units; 0
    is any distance."""
    vf_coef: float = 0.5
    """Weight of the value loss."""
    exploration: Literal["symmetric_kl", "entropy"] = "symmetric_kl"
    """Exploration term: symmetric KL to the uniform policy, or entropy."""
    ent_coef: float = 0.003
    """Weight of the exploration term."""
    normalize_obs: bool = True
    """Normalise every observation element by its running mean and variance."""
    normalize_returns: bool = True
    """Normalise returns by their running mean and variance."""
    bootstrap_truncated: bool = True
    """Bootstrap truncated episodes from their final observation."""

    def __post_init__(self) -> None:
        validation.positive(
            self, "num_steps", "num_minibatches", "num_epochs", "learning_rate",
            "adam_eps", "clip_eps",
        )  # fmt: skip
        validation.at_most(
            self, num_steps=MAX_ENVS, num_minibatches=MAX_ENVS, num_epochs=1_000,
            learning_rate=1e9, adam_eps=1e9, clip_eps=1e9,
        )  # fmt: skip
        validation.within(self, "gamma", 0.0, 1.0)
        validation.within(self, "gae_lambda", 0.0, 1.0)
        validation.within(self, "max_grad_norm", 0.0, 1e9)
        validation.within(self, "value_clip", 0.0, 1e9)
        validation.within(self, "vf_coef", 0.0, 1e9)
        validation.within(self, "ent_coef", -1e9, 1e9)


@dataclass(frozen=True, kw_only=True)
class WatchConfig:
    """Looking at a run while it trains; changes nothing about what is learned."""

    evaluate_every: int = 0
    """Frames between evaluations on other seeds than training's, in a process of their
    own; 0 leaves them out."""
    evaluate_episodes: int = 20
    """Episodes of each evaluation during training."""
    video_every: int = 0
    """Frames between videos of an episode (videos/ and TensorBoard); 0 for none."""
    best_by: Literal["training", "evaluation"] = "training"
    """Keep the checkpoint with the best mean return of the last 100 episodes of
    training, or of an evaluation during training."""
    wandb: bool = False
    """Log to Weights & Biases too (pip install 'jaxfactory[wandb]')."""
    wandb_project: str = "jaxfactory"
    """Its project."""
    wandb_entity: str | None = None
    """Its user or team; none is your default."""
    wandb_group: str | None = None
    """Its group of runs."""

    def __post_init__(self) -> None:
        for name in ("evaluate_every", "video_every"):
            if getattr(self, name) < 0:
                flag = name.replace("_", "-")
                raise UserError(
                    f"--{flag} {getattr(self, name)} must be a number of frames, or 0 "
                    "to leave it out"
                )
        validation.positive(self, "evaluate_episodes")
        validation.at_most(
            self, evaluate_every=MAX_FRAMES, video_every=MAX_FRAMES,
            evaluate_episodes=MAX_EPISODES,
        )  # fmt: skip
        if self.best_by == "evaluation" and not self.evaluate_every:
            raise UserError(
                "--best-by evaluation needs evaluations during training; add "
                "--evaluate-every FRAMES"
            )


@dataclass(frozen=True, kw_only=True)
class Config:
    """One training run.

    Examples:
        >>> import dataclasses
        >>> config = Config(env=EnvConfig(scenario="basic"), total_frames=1_000_000)
        >>> config.frames_per_iteration  # 64 environments x 32 steps x 4 tics
        8192
        >>> dataclasses.replace(config, seed=3).seed
        3
    """

    env: EnvConfig = field(default_factory=EnvConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    ppo: PPOConfig = field(default_factory=PPOConfig)
    watch: WatchConfig = field(default_factory=WatchConfig)
    total_frames: int = 4_000_000
    """Frames (game tics, all environments together) to train for."""
    seed: int = 0
    """Seed of the environments, the network and the sampled actions."""
    mode: Literal["sync", "async"] = "sync"
    """Play and update in turns, or play on a thread of its own during updates."""
    max_policy_lag: int = 1
    """Updates that a rollout's policy may be behind, with --mode async."""
    serial: bool = False
    """Run everything in one thread, for debugging."""
    checkpoint_minutes: float = 2.0
    """Minutes between checkpoints."""
    init_from: str | None = None
    """Begin a new run with the weights of another: its directory, or user/repo on the
    Hugging Face Hub."""

    def __post_init__(self) -> None:
        validation.positive(self, "total_frames", "checkpoint_minutes")
        validation.at_most(
            self, total_frames=MAX_FRAMES, checkpoint_minutes=1e6, max_policy_lag=100
        )
        validation.seed(self.seed)
        if self.init_from is not None and not (
            isinstance(self.init_from, str) and self.init_from
        ):
            raise UserError(
                f"--init-from {self.init_from!r} must be a run's directory or user/repo"
            )
        if self.mode == "async":
            validation.positive(self, "max_policy_lag")
            if self.serial:
                raise UserError(
                    "--serial runs everything in one thread, which --mode async "
                    "cannot; leave one of them out"
                )
        if self.env.num_envs % self.ppo.num_minibatches:
            raise UserError(
                f"--num-envs {self.env.num_envs} must be a multiple of "
                f"--num-minibatches {self.ppo.num_minibatches}, because a minibatch "
                "holds whole environments"
            )

    @property
    def frames_per_iteration(self) -> int:
        """Frames that one rollout takes from all environments together."""
        return self.env.num_envs * self.ppo.num_steps * self.env.frame_skip


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions:
    """Play a trained agent's episodes in parallel and print its score."""

    run: Path | None = None
    """The run's directory; without it, the run under runs/ that was saved last."""
    checkpoint: Literal["best", "latest"] = "best"
    """The checkpoint with the best mean return in training, or the last one."""
    episodes: int = 100
    """Episodes to play; each environment plays a fixed share of them."""
    num_envs: int = 20
    """Environments stepped in parallel, each one engine process."""
    deterministic: bool = False
    """Take the most probable action instead of sampling."""
    seed: int = 1000
    """Seed of the episodes and of the sampled actions."""
    scenario: str | None = None
    """Another scenario than the run's own, or where that one is now."""
    map: str | None = None
    """Map file (.wad or .pk3) to use instead of the run's own."""
    allow_game_args: bool = False
    """Pass all game_args of your own .cfg file to the engine, also those that could
    make it write files or run commands."""
    encoder: str | None = None
    """Where the run's own encoder is now, if it has moved (--network is the same)."""
    render_mp4: bool = False
    """Write a video of an episode into the run's directory."""
    push_to_hub: str | None = None
    """Publish the agent on the Hugging Face Hub as user/repo, with score and video."""
    private: bool = False
    """With --push-to-hub: make a repository that only you can see."""
    commit_message: str | None = None
    """With --push-to-hub: what the commit is called; by default the score."""

    def __post_init__(self) -> None:
        validation.positive(self, "episodes", "num_envs")
        validation.at_most(self, episodes=MAX_EPISODES, num_envs=MAX_ENVS)
        validation.seed(self.seed)
        if self.push_to_hub is None and (self.private or self.commit_message):
            flag = "--private" if self.private else "--commit-message"
            raise UserError(f"{flag} is about --push-to-hub user/repo; give that too")


def to_dict(config: Config) -> dict[str, Any]:
    """Return the configuration as plain nested dictionaries, for JSON."""
    return dataclasses.asdict(config)


def from_dict(data: dict[str, Any]) -> Config:
    """Rebuild a configuration from what `to_dict` returned.

    Raises:
        UserError: If a setting is unknown, its value is not of the setting's type, or
            cannot work.
    """
    return typed_fields.build(Config, data)
