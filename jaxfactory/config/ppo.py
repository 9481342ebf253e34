"""Settings of proximal policy optimization, and how they change over a run."""

import math
from dataclasses import dataclass
from typing import Literal

from jaxfactory._util import plain_json
from jaxfactory._util.errors import UserError
from jaxfactory._util.schedule import Schedule as Schedule
from jaxfactory._util.schedule import parse_schedules
from jaxfactory.config import validation
from jaxfactory.config.env import MAX_ENVS


# The settings that --schedule can change, and the bounds of their final values. A
# learning rate may end at 0.
_BOUNDS = {
    "learning_rate": (0.0, 1e9),
    "ent_coef": (-1e9, 1e9),
    "balance_coef": (0.0, 1e9),
    "clip_eps": (1e-9, 1e9),
    "gamma": (0.0, 1.0),
    "prioritized_beta": (0.0, 1.0),
}
# Settings, besides the learning rate, that each policy of a population has of its own.
# They are traced values, so that all policies share the compiled programs.
TRACED = ("ent_coef", "clip_eps", "gamma")
_MOST_FRAMES = float(plain_json.MOST_FRAMES)


@dataclass(frozen=True, kw_only=True)
class PPOConfig:
    """Settings of proximal policy optimization (PPO).

    Examples:
        >>> PPOConfig(num_steps=16, learning_rate=1e-4).num_epochs
        2
    """

    num_steps: int = 32
    """Steps per environment in a rollout; also the length of recurrent sequences."""
    bptt: int = 0
    """Steps that gradients go back through the recurrent core: a divisor of
    --num-steps, so that a rollout has several segments; 0 for all steps of a
    rollout."""
    refresh_carry: bool = False
    """With --bptt, compute the recurrent state at the start of each segment anew
    before each epoch, with the newest parameters, instead of using the stored one."""
    prioritized_alpha: float = 0.0
    """Draw the segments of each minibatch with probabilities in proportion to the sum
    of their absolute advantages, raised to this power, instead of each one once per
    epoch; 0 turns this off."""
    prioritized_beta: float = 1.0
    """With --prioritized-alpha, weight a segment by its probability relative to a
    uniform one to minus this power: 1 corrects the losses' means fully, 0 not at
    all."""
    num_minibatches: int = 4
    """Minibatches per epoch; each holds whole environments."""
    num_epochs: int = 2
    """Epochs over each rollout."""
    learning_rate: float = 3e-4
    """Learning rate of Adam."""
    lr_schedule: Literal["constant", "decay"] = "decay"
    """constant, or decay to a tenth over the second half of training."""
    schedule: tuple[str, ...] = ()
    """Change learning_rate, ent_coef, balance_coef, clip_eps, gamma or
    prioritized_beta over the run: NAME=SHAPE:FINAL:START:END goes from the setting's
    own value at the share START of the run to FINAL at END and stays there, linear or
    cosine; START is 0 and END 1 if left out. If END is above 1, both are numbers of
    frames. NAME=constant is no change. As in ent_coef=linear:0.0003:0.5. For the
    learning rate this replaces --lr-schedule."""
    lr_warmup_frames: int = 0
    """Raise the learning rate linearly from 0 over the first so many frames of the run;
    0 for no warm-up."""
    kl_target: float = 0.0
    """After each update divide the learning rate by 1.5 if the KL divergence of the
    last epoch is above twice this target, and multiply it by 1.5 if below half of it;
    0 turns this off, 0.008 is usual. The rate starts at --learning-rate; --lr-schedule
    does not apply."""
    kl_lr_range: tuple[float, float] = (1e-6, 1e-2)
    """Bounds of the learning rate with --kl-target."""
    adam_betas: tuple[float, float] = (0.9, 0.999)
    """Decay rates of Adam's averages of the gradient and of its square."""
    adam_eps: float = 1e-6
    """Epsilon of Adam."""
    max_grad_norm: float = 4.0
    """Clip gradients to this global norm; 0 turns clipping off."""
    gamma: float = 0.99
    """Discount factor per agent step."""
    gae_lambda: float = 0.95
    """Lambda of generalized advantage estimation (GAE), also used by V-trace."""
    advantages: Literal["gae", "vtrace"] = "gae"
    """Advantage estimator; vtrace corrects for policy lag."""
    objective: Literal["decoupled", "clipped"] = "decoupled"
    """With --mode async, clip relative to the policy at the start of the update
    (decoupled; importance weights correct for the behavior policy) or to the behavior
    policy (clipped). With --mode sync they are the same."""
    clip_eps: float = 0.1
    """The probability ratio is clipped to [1/(1+eps), 1+eps]."""
    value_clip: float = 0.2
    """Clip range of the value function in normalized units; 0 turns clipping off."""
    vf_coef: float = 0.5
    """Coefficient of the value loss."""
    exploration: Literal["symmetric_kl", "entropy"] = "symmetric_kl"
    """Exploration bonus: symmetric KL to the uniform policy, or entropy."""
    ent_coef: float = 0.003
    """Coefficient of the exploration bonus."""
    balance_coef: float = 0.0
    """Coefficient of the entropy of a minibatch's mean action probabilities. It keeps
    an agent from preferring one action everywhere before it can see where which one
    helps; 0 turns it off."""
    kl_coef: float = 0.0
    """Coefficient of the KL divergence from the policy that the ratio is relative to;
    0 turns this penalty off."""
    normalize_obs: bool = True
    """Normalize each element of observations by its running mean and variance."""
    normalize_returns: bool = True
    """Normalize returns by their running mean and variance."""
    return_clip: float = 5.0
    """Clip normalized returns and values to so many standard deviations; 0 turns
    clipping off, which rare rewards need."""
    return_memory: int = 0
    """Frames after which a return counts for 1/e in the statistics of returns; 0 for
    statistics that never forget."""
    advantage_floor: float = 0.0
    """Advantages are divided by their standard deviation in the minibatch, or by this
    multiple of the standard deviation of returns if that is larger; 0 for no floor."""
    bootstrap_truncated: bool = True
    """Bootstrap truncated episodes from the value of their final observation."""

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
        validation.within(self, "balance_coef", 0.0, 1e9)
        validation.within(self, "kl_coef", 0.0, 1e9)
        validation.within(self, "lr_warmup_frames", 0.0, _MOST_FRAMES)
        validation.within(self, "advantage_floor", 0.0, 1e9)
        if self.advantage_floor and not self.normalize_returns:
            raise UserError(
                f"--advantage-floor {self.advantage_floor:g} needs the statistics of "
                "returns; leave out --no-normalize-returns"
            )
        validation.within(self, "return_clip", 0.0, 1e9)
        validation.within(self, "return_memory", 0.0, _MOST_FRAMES)
        validation.within(self, "kl_target", 0.0, 1e9)
        self._check_segments()
        self._check_learning_rate()
        if not all(0 <= beta < 1 for beta in self.adam_betas):
            text = " ".join(map(str, self.adam_betas))
            raise UserError(
                f"--adam-betas {text} must both be at least 0 and less than 1"
            )

    def _check_segments(self) -> None:
        validation.within(self, "bptt", 0.0, float(MAX_ENVS))
        if self.bptt and self.num_steps % self.bptt:
            raise UserError(
                f"--bptt {self.bptt} must divide --num-steps {self.num_steps}, because "
                "gradients end at the start of a rollout; for longer sequences raise "
                "--num-steps and lower --num-envs as much"
            )
        if self.refresh_carry and self.num_segments == 1:
            raise UserError(
                "--refresh-carry does nothing for whole rollouts, whose first "
                "recurrent state comes from earlier ones; add --bptt with less than "
                f"--num-steps {self.num_steps}, or leave it out"
            )
        validation.within(self, "prioritized_alpha", 0.0, 10.0)
        validation.within(self, "prioritized_beta", 0.0, 1.0)
        off = not self.prioritized_alpha
        scheduled = "prioritized_beta" in self.schedules
        if off and (self.prioritized_beta != PPOConfig.prioritized_beta or scheduled):
            raise UserError(
                "prioritized_beta does nothing without --prioritized-alpha; add that, "
                "or leave it out"
            )

    def _check_learning_rate(self) -> None:
        low, high = self.kl_lr_range
        if not 0 < low <= high <= 1e9:
            raise UserError(
                f"--kl-lr-range {low:g} {high:g} must be two rates greater than 0, the "
                "smaller first, as in 1e-6 1e-2"
            )
        schedule = self.schedules.get("learning_rate")
        if self.kl_target and schedule and schedule.shape != "constant":
            raise UserError(
                f"--kl-target {self.kl_target:g} sets the learning rate, which "
                "--schedule changes too; leave one of them out"
            )

    @property
    def segment_steps(self) -> int:
        """Steps of a segment; gradients do not cross its start."""
        return self.bptt or self.num_steps

    @property
    def num_segments(self) -> int:
        """Segments of one environment's part of a rollout."""
        return self.num_steps // self.segment_steps

    @property
    def in_segments(self) -> bool:
        """Whether minibatches hold segments instead of every environment once."""
        return self.num_segments > 1 or self.prioritized_alpha > 0

    @property
    def return_bound(self) -> float:
        """Bound of normalized returns; infinity without a clip."""
        return self.return_clip or math.inf

    @property
    def schedules(self) -> "dict[str, Schedule]":
        """The parsed schedules, by setting."""
        return parse_schedules(self.schedule, _BOUNDS)

    def scheduled_at(self, progress: float, frames: int = 0) -> dict[str, float]:
        """Return the scheduled settings but the learning rate, at a moment of the run.

        Args:
            progress: Share of the run that is over, from 0 to 1.
            frames: Frames trained on.
        """
        return {
            name: schedule.at(getattr(self, name), progress, frames)
            for name, schedule in self.schedules.items()
            if name != "learning_rate" and schedule.shape != "constant"
        }

    def traced_at(self, progress: float, frames: int = 0) -> dict[str, float]:
        """Return what `scheduled_at` does, and the settings in `TRACED`.

        Args:
            progress: Share of the run that is over, from 0 to 1.
            frames: Frames trained on.
        """
        constant = {name: getattr(self, name) for name in TRACED}
        return constant | self.scheduled_at(progress, frames)
