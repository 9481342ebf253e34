"""Checks that a Sample Factory agent fits a scenario."""

from collections.abc import Mapping

import numpy as np

from jaxfactory._util.errors import UserError
from jaxfactory.sample_factory.settings import Settings, scenario_name
from jaxfactory.sample_factory.weights import Layout
from jaxfactory.scenarios import scenario_table
from jaxfactory.scenarios.action_heads import Head


def shown_env(settings: Settings) -> str:
    """Return the experiment's environment name for a message."""
    return f"{settings.values.get('env')!r:.80}"


def check_heads(
    settings: Settings,
    model: Mapping[str, np.ndarray],
    heads: tuple[Head, ...],
    scenario: str,
) -> None:
    """Refuse a policy whose number of logits differs from the scenario's."""
    bias = model.get("action_parameterization.distribution_linear.bias")
    wanted = sum(len(head) for head in heads)
    if bias is not None and len(bias) != wanted:
        raise UserError(
            f"the checkpoint's policy has {len(bias)} choices and the scenario "
            f"{scenario} {wanted} ({_sizes(heads)}); name the scenario that the agent "
            f"was trained on with --scenario (its env is {shown_env(settings)})"
        )


def check_meanings(
    settings: Settings, heads: tuple[Head, ...], scenario: str
) -> list[str]:
    """Refuse a policy whose action heads differ, as far as its environment is known.

    The checkpoint only has the total number of logits: 5 may be one head, or 3 and 2.

    Returns:
        A note if the heads have equal sizes but press other buttons.
    """
    trained_on = scenario_name(settings)
    if trained_on not in scenario_table.names():
        return []
    row = scenario_table.find(trained_on)
    before = scenario_table.action_heads(row, row.load())
    theirs, ours = ([len(head) for head in each] for each in (before, heads))
    # If the number of logits differs, its environment was not ours of that name, and
    # nothing is known about it.
    if sum(theirs) != sum(ours) or before == heads:
        return []
    env = shown_env(settings)
    if theirs != ours:
        raise UserError(
            f"the agent was trained on {env} with the action heads {_sizes(before)}, "
            f"and the scenario {scenario} has {_sizes(heads)}; leave out --scenario, "
            "or name a scenario with the same heads"
        )
    return [
        f"the agent was trained on {env}, where its actions press other buttons than "
        f"in {scenario}"
    ]


def check_measurements(
    settings: Settings, layout: Layout, measured: int, scenario: str
) -> list[str]:
    """Refuse a network whose measurements differ from the scenario's.

    A network without measurements is accepted. With Gymnasium of 2022 and 2023, Sample
    Factory's Doom encoder did not find them, so agents of that time read the image only
    and get the image only here.

    Returns:
        A note if the network reads none although the scenario has some.
    """
    read = layout.observation.measurements
    if read == measured:
        return []
    if not read:
        return [
            f"this agent reads the image only, without the {measured} measurements of "
            f"{scenario} (--no-measurements): its network has no layers for them"
        ]
    raise UserError(
        f"the checkpoint's network reads {read} measurements and the scenario "
        f"{scenario} has {measured}; name the scenario that the agent was trained on "
        f"with --scenario (its env is {shown_env(settings)})"
    )


def _sizes(heads: tuple[Head, ...]) -> str:
    return " x ".join(str(len(head)) for head in heads)
