"""Population-based training: who is replaced by whom, and how settings mutate.

Two rules. ``ranking`` is that of Sample Factory (Petrenko et al., arXiv:2006.11751,
after Jaderberg et al., arXiv:1807.01281), ``truncation`` the truncation selection of
Jaderberg et al., "Population Based Training of Neural Networks" (arXiv:1711.09846).
Nothing is remembered between two selections.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from jaxfactory.config.agents.population import PopulationConfig


# Of a policy: setting -> value.
Values = dict[str, float]

# Mutations stay inside; what the user sets may be outside.
_BOUNDS = {
    "learning_rate": (1e-9, 1.0),
    "ent_coef": (0.0, 1e3),
    "clip_eps": (1e-3, 10.0),
    "gamma": (0.0, 0.99999),
}
_WEIGHT_BOUNDS = (1e-3, 1e3)


class Change(NamedTuple):
    """What happens to a policy.

    Attributes:
        policy: Its number.
        parent: The policy that it becomes a copy of; None if it keeps its parameters.
        values: Its settings from now on.
    """

    policy: int
    parent: int | None
    values: Values


def is_due(options: PopulationConfig, frames: int, before: int) -> bool:
    """Whether a ranking is due.

    Args:
        options: Period and warm-up.
        frames: Frames of each policy after this iteration.
        before: Frames before it.
    """
    passed = frames // options.pbt_period > before // options.pbt_period
    return options.pbt and passed and frames >= options.pbt_warmup


def select(
    options: PopulationConfig,
    scores: Sequence[float],
    values: Sequence[Values],
    mutable: Sequence[str],
    rng: np.random.Generator,
) -> list[Change]:
    """Return what happens to whom; parents are policies that nothing happens to.

    Args:
        options: The rule.
        scores: Objective of each policy, higher is better.
        values: Settings of each policy.
        mutable: Names of the settings that mutate.
        rng: Decides, for the same arguments always in the same way.
    """
    order = sorted(range(len(scores)), key=lambda i: (-scores[i], i))
    count = math.ceil(options.pbt_fraction * len(scores))
    best, worst = order[:count], order[len(order) - count :]
    changes = []
    for policy in sorted(order):
        parent = None
        if policy in worst and policy not in best:
            candidate = best[int(rng.integers(len(best)))]
            if _exceeds(options, scores[candidate], scores[policy]):
                parent = candidate
        if policy in best or (options.truncates and parent is None):
            continue
        new = dict(values[policy if parent is None else parent])
        # With the ranking rule, policy 0 shows what the given settings achieve.
        if policy or options.truncates:
            new = mutated(options, new, mutable, rng)
        if parent is not None or new != values[policy]:
            changes.append(Change(policy, parent, new))
    return changes


def mutated(
    options: PopulationConfig,
    values: Mapping[str, float],
    mutable: Sequence[str],
    rng: np.random.Generator,
) -> Values:
    """Return settings, some of them changed.

    Args:
        options: Probability and range.
        values: Settings of a policy.
        mutable: Names of those that may change; others stay.
        rng: Decides.
    """
    new = dict(values)
    for name in mutable:
        if rng.random() >= options.mutation_probability:
            continue
        factor = rng.uniform(*options.pbt_mutation_range)
        factor = 1.0 / factor if rng.random() < 0.5 else factor
        low, high = _BOUNDS.get(name, _WEIGHT_BOUNDS)
        old = values[name]
        # Of gamma, 1 - gamma is what changes the horizon in proportion.
        value = 1.0 - (1.0 - old) * factor if name == "gamma" else old * factor
        new[name] = min(max(value, min(low, old)), max(high, old))
    return new


def _exceeds(options: PopulationConfig, better: float, worse: float) -> bool:
    gap = 0.0 if options.truncates else options.pbt_gap * abs(better)
    return better - worse > gap
