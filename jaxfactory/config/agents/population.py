"""Settings of populations: several policies in one run, and what changes them."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Literal

from jaxfactory._util import plain_json
from jaxfactory._util.errors import UserError, did_you_mean
from jaxfactory.config import validation
from jaxfactory.config.ppo import TRACED, PPOConfig


# Settings of the algorithm that each policy has of its own.
OWN = ("learning_rate", *TRACED)
# What population-based training may change.
REWARD_WEIGHTS = "reward_weights"
MUTABLE = (*OWN, REWARD_WEIGHTS)
_MOST_POLICIES = 256
# Of which no use is known; a typing error is more likely.
_LARGEST_FACTOR = 100.0


@dataclass(frozen=True, kw_only=True)
class PopulationConfig:
    """Several policies in one run, and population-based training (PBT)."""

    num_policies: int = 1
    """Policies that are trained side by side. They share --num-envs equally; frames,
    as in --total-frames, are those of one policy."""
    policy_values: tuple[str, ...] = ()
    """Give the policies different values of learning_rate, ent_coef, clip_eps or gamma
    to begin with, one for each policy: as in learning_rate=1e-3,3e-4,1e-4,3e-5."""
    pbt: bool = False
    """Population-based training: copy better policies over worse ones and mutate their
    settings."""
    pbt_period: int = 500_000
    """Frames of a policy between two rankings of the population."""
    pbt_warmup: int = 1_000_000
    """Frames of a policy before the first ranking."""
    pbt_selection: Literal["ranking", "truncation"] = "ranking"
    """ranking replaces the worst policies and mutates all but the best ones, and never
    mutates policy 0. truncation replaces and mutates the worst ones, and leaves all
    others alone."""
    pbt_fraction: float = 0.3
    """Share of the policies that count as the best, and as the worst; rounded up."""
    pbt_gap: float = 0.1
    """With --pbt-selection ranking: replace a policy only if the better one's objective
    exceeds its own by more than this share of the better one's."""
    pbt_mutation_probability: float | None = None
    """Probability that a setting of a mutated policy changes; by default 0.15, and 1
    with --pbt-selection truncation."""
    pbt_mutation_range: tuple[float, float] = (1.1, 1.5)
    """A setting changes by a factor between these two, or by the inverse of one. For
    gamma the factor is that of 1 - gamma."""
    pbt_settings: tuple[str, ...] = ("learning_rate", "ent_coef", "clip_eps")
    """Settings that mutate: learning_rate, ent_coef, clip_eps, gamma, or
    reward_weights, a factor for each row of the scenario's shaping table."""
    pbt_objective: Literal["raw_return", "win_rate"] = "raw_return"
    """Rank policies by the mean raw return of their last 100 episodes, or by the share
    of their last 100 matches that they won."""

    def __post_init__(self) -> None:
        validation.positive(self, "num_policies", "pbt_period")
        validation.at_most(
            self, num_policies=_MOST_POLICIES, pbt_period=plain_json.MOST_FRAMES
        )
        validation.within(self, "pbt_warmup", 0.0, float(plain_json.MOST_FRAMES))
        validation.within(self, "pbt_gap", 0.0, 1e9)
        if self.pbt_mutation_probability is not None:
            validation.within(self, "pbt_mutation_probability", 0.0, 1.0)
        if not 0 < self.pbt_fraction <= 0.5:
            raise UserError(
                f"--pbt-fraction {self.pbt_fraction:g} must be greater than 0 and at "
                "most 0.5, because the best policies replace as many others"
            )
        low, high = self.pbt_mutation_range
        if not 1 <= low <= high <= _LARGEST_FACTOR:
            raise UserError(
                f"--pbt-mutation-range {low:g} {high:g} must be two factors from 1 to "
                f"{_LARGEST_FACTOR:g}, the smaller first, as in 1.1 1.5"
            )
        for name in self.pbt_settings:
            if name not in MUTABLE:
                hint = did_you_mean(name[:60], MUTABLE) or (
                    f"; choose {', '.join(MUTABLE)}"
                )
                raise UserError(f"--pbt-settings cannot mutate {name!r:.60}{hint}")
        self._check_used()
        self.first_values()

    def _check_used(self) -> None:
        """Refuse settings that do nothing."""
        if self.num_policies == 1 and (self.pbt or self.policy_values):
            flag = "--pbt" if self.pbt else "--policy-values"
            raise UserError(
                f"{flag} needs several policies; add --num-policies with 2 or more"
            )
        for one in fields(self):
            unused = one.name.startswith("pbt_") and not self.pbt
            if unused and getattr(self, one.name) != one.default:
                flag = one.name.replace("_", "-")
                raise UserError(
                    f"--{flag} does nothing without --pbt; add that, or leave it out"
                )
        if self.pbt_gap != PopulationConfig.pbt_gap and self.truncates:
            raise UserError(
                f"--pbt-gap {self.pbt_gap:g} does nothing with --pbt-selection "
                "truncation; leave one of them out"
            )

    @property
    def truncates(self) -> bool:
        """Whether selection is by truncation."""
        return self.pbt_selection == "truncation"

    @property
    def mutation_probability(self) -> float:
        """Probability that a setting of a mutated policy changes."""
        if self.pbt_mutation_probability is not None:
            return self.pbt_mutation_probability
        return 1.0 if self.truncates else 0.15

    def first_values(self) -> dict[str, tuple[float, ...]]:
        """Return the values of ``policy_values``, one for each policy, by setting.

        Raises:
            UserError: If a text is wrong.
        """
        found: dict[str, tuple[float, ...]] = {}
        for text in self.policy_values:
            name, values = _parse(text, self.num_policies)
            if name in found:
                raise UserError(
                    f"--policy-values sets {name} twice; leave one of them out"
                )
            found[name] = values
        return found

    def check(
        self, ppo: PPOConfig, num_envs: int, total_frames: int, others: Mapping
    ) -> None:
        """Refuse settings that do not fit the rest of the configuration.

        Args:
            ppo: Settings of the algorithm.
            num_envs: Environments of all policies together.
            total_frames: Frames of each policy.
            others: Flags that do not go with several policies, and whether they are
                given.
        """
        if self.num_policies == 1:
            return
        policies = f"--num-policies {self.num_policies}"
        if num_envs % self.num_policies:
            unit = self.num_policies * ppo.num_minibatches
            whole = max(1, num_envs // unit) * unit
            raise UserError(
                f"--num-envs {num_envs} must be a multiple of {policies}, which share "
                f"the environments equally; try {whole}"
            )
        each = num_envs // self.num_policies
        if each % ppo.num_minibatches:
            raise UserError(
                f"{policies} share --num-envs {num_envs}, and the {each} of each must "
                f"be a multiple of --num-minibatches {ppo.num_minibatches}, because a "
                "minibatch holds whole environments; change one of the three"
            )
        for flag, given in others.items():
            if given:
                raise UserError(
                    f"{flag} is for a single policy and cannot be used with "
                    f"{policies}; leave one of them out"
                )
        if not self.pbt:
            return
        if ppo.kl_target and "learning_rate" in self.pbt_settings:
            raise UserError(
                f"--kl-target {ppo.kl_target:g} sets the learning rate, which --pbt "
                "mutates too; leave it out, or name other --pbt-settings"
            )
        first = self.pbt_period * max(1, -(-self.pbt_warmup // self.pbt_period))
        if first > total_frames:
            raise UserError(
                f"--pbt would never act: its first ranking is after {first:,} frames "
                f"(--pbt-warmup, --pbt-period), and --total-frames is {total_frames:,}"
                "; change one of them"
            )


def _parse(text: str, num_policies: int) -> tuple[str, tuple[float, ...]]:
    what = f"--policy-values {text!r:.80}"
    name, equals, rest = text.partition("=")
    name = name.strip().replace("-", "_")
    if not equals:
        raise UserError(
            f"{what} must be NAME=VALUE,VALUE, as in learning_rate=1e-3,1e-4"
        )
    if name not in OWN:
        hint = did_you_mean(name[:60], OWN) or f"; choose {', '.join(OWN)}"
        raise UserError(f"{what} cannot set {name!r:.60}{hint}")
    try:
        values = tuple(map(float, rest.split(",")))
    except ValueError:
        values = (math.nan,)
    if not all(map(math.isfinite, values)):
        raise UserError(f"{what} must have finite numbers after =, between commas")
    if len(values) != num_policies:
        raise UserError(
            f"{what} has {len(values)} values and needs one for each of --num-policies "
            f"{num_policies}"
        )
    for value in values:
        try:
            PPOConfig(**{name: value})
        except UserError as error:
            raise UserError(f"{what}: {error}") from None
    return name, values
