"""Settings of a training run and of an evaluation: defaults and validation.

Frozen dataclasses, validated on construction: an invalid value raises a ``UserError``
(a ``ValueError``) that names the value, the reason and the remedy.
"""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from jaxfactory._util import plain_json
from jaxfactory._util.errors import UserError
from jaxfactory.config import families, typed_fields, validation
from jaxfactory.config.agents.population import PopulationConfig as PopulationConfig
from jaxfactory.config.agents.self_play import SelfPlayConfig as SelfPlayConfig
from jaxfactory.config.env import MAX_ENVS, EnvConfig
from jaxfactory.config.network import BonusConfig
from jaxfactory.config.network import NetworkConfig as NetworkConfig
from jaxfactory.config.ppo import PPOConfig as PPOConfig


# Larger values are mistakes and would exhaust processes or memory.
MAX_FRAMES = plain_json.MOST_FRAMES
MAX_EPISODES = 1_000_000


@dataclass(frozen=True, kw_only=True)
class WatchConfig:
    """Evaluation and logging during training; does not affect learning."""

    evaluate_every: int = 0
    """Frames between background evaluations, on seeds that training does not use; 0
    turns them off."""
    evaluate_episodes: int = 20
    """Episodes per background evaluation."""
    video_every: int = 0
    """Frames between videos of an episode (videos/ and TensorBoard); 0 for none."""
    best_by: Literal["training", "evaluation"] = "training"
    """Choose the best checkpoint by the mean return of the last 100 training episodes,
    or of a background evaluation."""
    wandb: bool = False
    """Also log to Weights & Biases (pip install 'jaxfactory[wandb]')."""
    wandb_project: str = "jaxfactory"
    """Weights & Biases project."""
    wandb_entity: str | None = None
    """Weights & Biases user or team; your default if not given."""
    wandb_group: str | None = None
    """Weights & Biases group of runs."""

    def __post_init__(self) -> None:
        for name in ("evaluate_every", "video_every"):
            if getattr(self, name) < 0:
                flag = name.replace("_", "-")
                raise UserError(
                    f"--{flag} {getattr(self, name)} must be a number of frames, or 0 "
                    "to turn it off"
                )
        validation.positive(self, "evaluate_episodes")
        validation.at_most(
            self, evaluate_every=MAX_FRAMES, video_every=MAX_FRAMES,
            evaluate_episodes=MAX_EPISODES,
        )  # fmt: skip
        if self.best_by == "evaluation" and not self.evaluate_every:
            raise UserError(
                "--best-by evaluation needs background evaluations; add "
                "--evaluate-every FRAMES"
            )


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of one training run.

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
    intrinsic: BonusConfig = field(default_factory=BonusConfig)
    self_play: SelfPlayConfig = field(default_factory=SelfPlayConfig)
    population: PopulationConfig = field(default_factory=PopulationConfig)
    watch: WatchConfig = field(default_factory=WatchConfig)
    total_frames: int = 4_000_000
    """Frames to train for, over all environments; a frame is one Doom tic."""
    train_for_minutes: float = 0.0
    """End training after so many minutes, counted anew when a run is resumed; 0 for no
    limit. Schedules follow --total-frames all the same."""
    seed: int = 0
    """Seed of environments, network initialization and sampled actions."""
    stagger: int = 0
    """Truncate the first episode of each environment after a random number of tics, at
    most this many, so that environments do not all start and end together; 0 for no
    truncation."""
    mode: Literal["sync", "async"] = "sync"
    """sync alternates rollouts and updates; async collects rollouts in a second thread
    during updates."""
    max_policy_lag: int = 1
    """Largest policy lag of a rollout, in updates, with --mode async."""
    resume: Literal["continue", "exact"] = "continue"
    """continue resumes a run from its last checkpoint, with new episodes. exact makes a
    stopped and resumed run compute the same parameters as one that was not stopped, on
    the CPU with --mode sync: all episodes are cut after every --exact-every frames, and
    it is resumed from there."""
    exact_every: int = 500_000
    """Frames between the cuts of --resume exact, rounded down to whole rollouts."""
    serial: bool = False
    """Run everything in one thread; for debugging."""
    checkpoint_minutes: float = 2.0
    """Minutes between checkpoints."""
    keep_every: int = 0
    """Frames between checkpoints that are kept for good, besides the last two and the
    best; 0 for none."""
    init_from: str | None = None
    """Initialize a new run from the weights of another: its directory, or user/repo on
    the Hugging Face Hub."""

    def __post_init__(self) -> None:
        validation.positive(self, "total_frames", "checkpoint_minutes")
        validation.at_most(
            self, total_frames=MAX_FRAMES, checkpoint_minutes=1e6, max_policy_lag=100
        )
        validation.within(self, "stagger", 0.0, 2.0**31 - 1)
        if self.keep_every < 0:
            raise UserError(
                f"--keep-every {self.keep_every} must be a number of frames, or 0 to "
                "turn it off"
            )
        validation.at_most(self, keep_every=MAX_FRAMES)
        kind = families.of(self.env.scenario)
        if self.stagger and not kind.staggers:
            raise UserError(
                f"--stagger {self.stagger} does nothing in {kind.title}; leave it out"
            )
        validation.within(self, "train_for_minutes", 0.0, 1e9)
        validation.positive(self, "exact_every")
        validation.at_most(self, exact_every=MAX_FRAMES)
        if self.resume == "exact" and (self.mode == "async" or self.stagger):
            flag = "--mode async" if self.mode == "async" else "--stagger"
            raise UserError(
                f"--resume exact cannot repeat what a run with {flag} computes; leave "
                "one of them out"
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
        single = {
            "--mode async": self.mode == "async",
            "--evaluate-every": self.watch.evaluate_every > 0,
            "--video-every": self.watch.video_every > 0,
        }
        self.population.check(self.ppo, self.env.num_envs, self.total_frames, single)
        if self.ppo.refresh_carry and self.mode == "sync" and self.ppo.num_epochs == 1:
            raise UserError(
                "--refresh-carry does nothing with --num-epochs 1 and --mode sync, "
                "where the newest parameters have stored the recurrent state; leave it "
                "out, or add epochs"
            )
        if "rnd" in self.intrinsic.kinds and not self.ppo.normalize_obs:
            raise UserError(
                f"--bonus {self.intrinsic.bonus} compares normalized observations; "
                "leave out --no-normalize-obs or --bonus"
            )

    @property
    def frames_per_iteration(self) -> int:
        """Frames in one rollout, over all environments."""
        return self.env.num_envs * self.ppo.num_steps * self.env.frame_skip

    def is_cut(self, frames: int) -> bool:
        """Whether all episodes are cut after so many frames (``resume``)."""
        rollouts = max(1, self.exact_every // self.frames_per_iteration)
        cut = rollouts * self.frames_per_iteration
        return self.resume == "exact" and not frames % cut


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions:
    """Evaluate a trained agent on parallel environments and print its score."""

    run: Path | None = None
    """Run directory; by default the run under runs/ with the newest checkpoint."""
    checkpoint: str = "best"
    """Evaluate the checkpoint best or latest, or the one that --keep-every kept at so
    many frames."""
    policy: str = "best"
    """Of a run of several policies, evaluate the best one or the one of this number.
    Results are written to its own directory, policies/NUMBER."""
    episodes: int = 100
    """Episodes to evaluate; each environment runs a fixed share of them."""
    num_envs: int = 20
    """Environments stepped in parallel, one engine process each."""
    deterministic: bool = False
    """Take the most probable actions instead of sampling."""
    seed: int = 1000
    """Seed of episodes and sampled actions."""
    scenario: str | None = None
    """Override the scenario, or give its new path."""
    map: str | None = None
    """Map file (.wad or .pk3) to use instead of the run's own."""
    allow_game_args: bool = False
    """Pass every game_args entry of your own .cfg file to the engine, even those that
    can write files or run commands."""
    encoder: str | None = None
    """New path of the run's own encoder, if it has moved (alias: --network)."""
    render_mp4: bool = False
    """Write a video of one episode to the run directory."""
    push_to_hub: str | None = None
    """Push the agent to the Hugging Face Hub as user/repo, with score and video."""
    private: bool = False
    """With --push-to-hub: make the repository private."""
    commit_message: str | None = None
    """With --push-to-hub: commit message; by default the score."""

    def __post_init__(self) -> None:
        validation.positive(self, "episodes", "num_envs")
        validation.at_most(self, episodes=MAX_EPISODES, num_envs=MAX_ENVS)
        validation.seed(self.seed)
        validation.checkpoint(self.checkpoint)
        validation.policy(self.policy)
        if self.push_to_hub is None and (self.private or self.commit_message):
            flag = "--private" if self.private else "--commit-message"
            raise UserError(f"{flag} needs --push-to-hub user/repo; add that")


def to_dict(config: Config) -> dict[str, Any]:
    """Return the configuration as plain nested dictionaries, for JSON."""
    return dataclasses.asdict(config)


def from_dict(data: dict[str, Any]) -> Config:
    """Rebuild a configuration from the result of `to_dict`.

    Raises:
        UserError: If a setting is unknown, or its value is invalid or of another type.
    """
    return typed_fields.build(Config, data)
