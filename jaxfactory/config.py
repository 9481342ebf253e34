"""Every setting, its default, its bounds, and the presets.

Frozen dataclasses, validated when made: a value that cannot work raises a
``UserError`` (a ``ValueError``) whose sentence carries the value, the reason and the
remedy.
"""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from jaxfactory.errors import UserError


def _positive(owner: Any, *names: str) -> None:
    for name in names:
        value = getattr(owner, name)
        if value <= 0:
            flag = name.replace("_", "-")
            raise UserError(
                f"--{flag} {value} must be greater than 0; leave it out for the default"
            )


def _within(owner: Any, name: str, low: float, high: float) -> None:
    value = getattr(owner, name)
    if not low <= value <= high:
        flag = name.replace("_", "-")
        raise UserError(f"--{flag} {value} must lie between {low:g} and {high:g}")


def _check_seed(seed: int) -> None:
    if not 0 <= seed < 2**32:
        raise UserError(f"--seed {seed} must lie between 0 and 4294967295")


# What the engine can render; it falls back to another size for any other.
SCREEN_SIZES = (
    (160, 120), (200, 125), (200, 150), (256, 144), (256, 160), (256, 192), (320, 180),
    (320, 200), (320, 240), (320, 256), (400, 225), (400, 250), (400, 300), (512, 288),
    (512, 320), (512, 384), (640, 360), (640, 400), (640, 480), (800, 450), (800, 500),
    (800, 600), (1024, 576), (1024, 640), (1024, 768), (1280, 720), (1280, 800),
    (1280, 960), (1280, 1024), (1400, 787), (1400, 875), (1400, 1050), (1600, 900),
    (1600, 1000), (1600, 1200), (1920, 1080),
)  # fmt: skip
_WIDE = (256, 144)
_MAX_IMAGE_SIDE = 4096.0
# The engine's queue holds 64 messages.
_MAX_QUEUED_TICS = 32


def _check_screen(width: int, height: int) -> None:
    if (width, height) in SCREEN_SIZES:
        return
    near = min(
        SCREEN_SIZES, key=lambda size: abs(size[0] - width) + abs(size[1] - height)
    )
    raise UserError(
        f"the engine cannot render {width}x{height} (--screen-width, --screen-height); "
        f"the nearest size that it can is {near[0]}x{near[1]}"
    )


GYMNASIUM = "gymnasium:"
_DOOM_ALONE = (
    "tics", "width", "height", "screen_width", "screen_height", "grayscale", "depth",
    "labels", "automap", "num_workers", "engine", "num_agents", "num_bots", "wide",
)  # fmt: skip


def gymnasium_id(scenario: str) -> str | None:
    """Return the name in Gymnasium's registry, None for a scenario of Doom.

    >>> gymnasium_id("gymnasium:CartPole-v1")
    'CartPole-v1'
    """
    if not scenario.startswith(GYMNASIUM):
        return None
    return scenario.removeprefix(GYMNASIUM)


@dataclass(frozen=True, kw_only=True)
class EnvConfig:
    """Environments and the pool that steps them.

    Example:
        >>> EnvConfig(scenario="basic", num_envs=4).frame_skip
        4
        >>> EnvConfig(num_envs=3)
        Traceback (most recent call last):
        jaxfactory.errors.UserError: --num-envs 3 must be a multiple of --num-groups...
    """

    scenario: str = "health_gathering_supreme"
    """A scenario's name (see `jaxfactory scenarios`), the path of a .cfg file, one of
    your own as package.module:NAME or file.py:NAME, or any environment of Gymnasium's
    as gymnasium:CartPole-v1 (--env is the same flag)."""
    num_envs: int = 64
    """Environments stepped in parallel, each one engine process; or auto."""
    num_groups: int = 2
    """Groups of environments: one steps while the policy thinks for the other."""
    num_workers: int = 0
    """Worker threads that drive the engines; 0 is one for each core; or auto."""
    frame_skip: int = 4
    """Game tics that each action is held for."""
    tics: Literal["exact", "queued"] = "exact"
    """Wait for each tic as DoomGame does, or send a step's tics to the engine at once:
    faster, but after a death the rest of the step is still played."""
    engine: Literal["tuned", "stock"] = "tuned"
    """Replace the engine's slowest loop in its memory by one that computes the same, or
    leave the engine as it was shipped."""
    width: int = 128
    """Width in pixels of the image that the policy sees."""
    height: int = 72
    """Height in pixels of the image that the policy sees."""
    screen_width: int = 160
    """Width in pixels that the engine renders."""
    screen_height: int = 120
    """Height in pixels that the engine renders."""
    wide: bool = False
    """Render 256x144, which has the image's own shape, instead of 160x120."""
    grayscale: bool = False
    """One grey channel instead of red, green and blue."""
    depth: bool = False
    """Append the depth buffer as a channel."""
    labels: bool = False
    """Append the labels buffer (one value for each visible object) as a channel."""
    automap: bool = False
    """Append the automap's channels."""
    timeout: int | None = None
    """Tics after which an episode is truncated; none keeps the scenario's own."""
    num_agents: int | None = None
    """Agents of a match, an environment each; none keeps the scenario's own."""
    num_bots: int | None = None
    """Bots in a match; none keeps the scenario's own."""
    processes: bool = False
    """Step each of Gymnasium's environments in a process of its own, not all in this
    one: for such as take long to step."""

    @property
    def screen(self) -> tuple[int, int]:
        """Width and height in pixels that the engine renders."""
        return _WIDE if self.wide else (self.screen_width, self.screen_height)

    def __post_init__(self) -> None:
        _positive(self, "num_envs", "num_groups", "frame_skip")
        _within(self, "width", 1.0, _MAX_IMAGE_SIDE)
        _within(self, "height", 1.0, _MAX_IMAGE_SIDE)
        _check_screen(self.screen_width, self.screen_height)
        if self.num_envs % self.num_groups:
            raise UserError(
                f"--num-envs {self.num_envs} must be a multiple of --num-groups "
                f"{self.num_groups}, so that groups are of equal size; "
                f"try {max(1, self.num_envs // self.num_groups) * self.num_groups}"
            )
        if self.tics == "queued" and self.frame_skip > _MAX_QUEUED_TICS:
            raise UserError(
                f"--frame-skip {self.frame_skip} is more than the {_MAX_QUEUED_TICS} "
                "tics that --tics queued can send at once; use --tics exact"
            )
        if self.num_workers < 0:
            raise UserError(
                f"--num-workers {self.num_workers} must be 0 (one a core) or more"
            )
        if self.num_agents is not None and self.num_agents < 1:
            raise UserError(f"--num-agents {self.num_agents} must be 1 or more")
        if self.num_bots is not None and self.num_bots < 0:
            raise UserError(f"--num-bots {self.num_bots} must be 0 or more")
        if self.timeout is not None and self.timeout <= 0:
            raise UserError(
                f"--timeout {self.timeout} must be greater than 0 tics; "
                "leave it out for the scenario's own"
            )
        self._check_family()

    def _check_family(self) -> None:
        """Refuse settings that the environment's family does not have."""
        is_doom = gymnasium_id(self.scenario) is None
        for name in ("processes",) if is_doom else _DOOM_ALONE:
            if getattr(self, name) != getattr(EnvConfig, name):
                flag = name.replace("_", "-")
                family = "Gymnasium's environments" if is_doom else "Doom"
                raise UserError(
                    f"--{flag} is for {family} and does nothing for {self.scenario}; "
                    "leave it out"
                )


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """The actor-critic's shape.

    Example:
        >>> small = NetworkConfig(conv_channels=(8, 16, 16), core="lstm")
        >>> small.core_size
        256
    """

    encoder: str = "conv"
    """What turns observations into features: conv, or a Flax NNX class of your own as
    package.module:Class or file.py:Class (--network is the same flag)."""
    conv_channels: tuple[int, ...] = (16, 32, 64)
    """Output channels of each convolution."""
    conv_kernels: tuple[int, ...] = (8, 4, 3)
    """Kernel size of each convolution."""
    conv_strides: tuple[int, ...] = (4, 2, 2)
    """Stride of each convolution."""
    hidden_size: int = 256
    """Units of the dense layer after the convolutions."""
    core: Literal["gru", "lstm", "none"] = "gru"
    """Recurrent core between the encoder and the heads."""
    core_size: int = 256
    """Units of the recurrent core."""
    measurements_sizes: tuple[int, ...] = (128, 128)
    """Units of the dense layers that read the measurements, where there are any."""
    decoder_sizes: tuple[int, ...] = ()
    """Units of the dense layers between the core and the heads; none by default."""
    nonlinearity: Literal["elu", "relu", "tanh"] = "elu"
    """Activation after each convolution and dense layer."""

    def __post_init__(self) -> None:
        _positive(self, "hidden_size", "core_size")
        lengths = {
            len(self.conv_channels),
            len(self.conv_kernels),
            len(self.conv_strides),
        }
        if len(lengths) != 1:
            raise UserError(
                f"--conv-channels {self.conv_channels}, --conv-kernels "
                f"{self.conv_kernels} and --conv-strides {self.conv_strides} must have "
                "the same number of entries, one for each convolution"
            )


@dataclass(frozen=True, kw_only=True)
class PPOConfig:
    """Proximal policy optimisation.

    Example:
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
    clip_eps: float = 0.1
    """The ratio is clipped to [1/(1+eps), 1+eps]."""
    value_clip: float = 0.2
    """How far a value may move from the acting one, in normalised units."""
    vf_coef: float = 0.5
    """Weight of the value loss."""
    exploration: Literal["symmetric_kl", "entropy"] = "symmetric_kl"
    """Exploration term: symmetric KL to the uniform policy, or entropy."""
    ent_coef: float = 0.001
    """Weight of the exploration term."""
    normalize_obs: bool = True
    """Normalise every observation element by its running mean and variance."""
    normalize_returns: bool = True
    """Normalise returns by their running mean and variance."""
    bootstrap_truncated: bool = True
    """Bootstrap truncated episodes from their final observation."""

    def __post_init__(self) -> None:
        _positive(
            self, "num_steps", "num_minibatches", "num_epochs", "learning_rate",
            "adam_eps", "clip_eps", "value_clip",
        )  # fmt: skip
        _within(self, "gamma", 0.0, 1.0)
        _within(self, "gae_lambda", 0.0, 1.0)
        _within(self, "max_grad_norm", 0.0, 1e9)


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
        _positive(self, "evaluate_episodes")
        if self.best_by == "evaluation" and not self.evaluate_every:
            raise UserError(
                "--best-by evaluation needs evaluations during training; add "
                "--evaluate-every FRAMES"
            )


@dataclass(frozen=True, kw_only=True)
class Config:
    """One training run.

    Example:
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

    def __post_init__(self) -> None:
        _positive(self, "total_frames", "checkpoint_minutes")
        _check_seed(self.seed)
        if self.mode == "async":
            _positive(self, "max_policy_lag")
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
        _positive(self, "episodes", "num_envs")
        _check_seed(self.seed)
        if self.push_to_hub is None and (self.private or self.commit_message):
            flag = "--private" if self.private else "--commit-message"
            raise UserError(f"{flag} is about --push-to-hub user/repo; give that too")


PRESETS: dict[str, Config] = {
    # A smaller network that uses each rollout twice: it reaches a score sooner.
    "default": Config(),
    # The settings that this field publishes its Doom scores with.
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
            bootstrap_truncated=False,
        ),
    ),
    # Environments of Gymnasium's: cheap to step, and mostly without anything to
    # remember or an image. Taken wherever one is named.
    "gymnasium": Config(
        env=EnvConfig(
            scenario="gymnasium:CartPole-v1", num_envs=16, num_groups=1, frame_skip=1
        ),
        network=NetworkConfig(core="none", measurements_sizes=(64, 64)),
        ppo=PPOConfig(num_steps=128, num_epochs=4, learning_rate=1e-3, clip_eps=0.2),
        total_frames=300_000,
    ),
}


def to_dict(config: Config) -> dict[str, Any]:
    """Return the configuration as plain nested dictionaries, for JSON."""
    return dataclasses.asdict(config)


def from_dict(data: dict[str, Any]) -> Config:
    """Rebuild a configuration from what `to_dict` returned.

    Raises:
        UserError: If a setting is unknown or its value cannot work.
    """
    sections = {
        "env": EnvConfig,
        "network": NetworkConfig,
        "ppo": PPOConfig,
        "watch": WatchConfig,
    }
    values = dict(data)
    try:
        for name, cls in sections.items():
            section = {
                key: tuple(value) if isinstance(value, list) else value
                for key, value in values.get(name, {}).items()
            }
            values[name] = cls(**section)
        return Config(**values)
    except TypeError as error:
        raise UserError(
            "the configuration holds a setting that this version does not know "
            f"({error})"
        ) from error
