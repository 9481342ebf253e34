"""Whether an agent of Sample Factory's fits the scenario that it is to play."""

from collections.abc import Mapping

import numpy as np

from jaxfactory._util.errors import UserError
from jaxfactory.sample_factory.settings import Settings, scenario_name
from jaxfactory.sample_factory.weights import Layout
from jaxfactory.scenarios import scenario_table
from jaxfactory.scenarios.action_heads import Head


def shown_env(settings: Settings) -> str:
    """Return what an experiment's settings call its environment, for a message."""
    return f"{settings.values.get('env')!r:.80}"


def check_heads(
    settings: Settings,
    model: Mapping[str, np.ndarray],
    heads: tuple[Head, ...],
    scenario: str,
) -> None:
    """Refuse a policy that decides about something else than the scenario asks."""
    bias = model.get("action_parameterization.distribution_linear.bias")
    wanted = sum(len(head) for head in heads)
    if bias is not None and len(bias) != wanted:
        raise UserError(
            f"the checkpoint's policy has {len(bias)} choices and the scenario "
            f"{scenario} {wanted} ({_sizes(heads)}); name the scenario that it was "
            f"trained on with --scenario (there it was {shown_env(settings)})"
        )


def check_meanings(
    settings: Settings, heads: tuple[Head, ...], scenario: str
) -> list[str]:
    """Refuse a policy whose logits make other heads, as far as its environment tells.

    The checkpoint tells only how many logits there are: 5 may be one head or 3 and 2.

    Returns:
        A note if heads are of equal sizes, but press other buttons.
    """
    trained_on = scenario_name(settings)
    if trained_on not in scenario_table.names():
        return []
    row = scenario_table.find(trained_on)
    before = scenario_table.action_heads(row, row.load())
    theirs, ours = ([len(head) for head in each] for each in (before, heads))
    # Another number of logits than the checkpoint's: its environment was not ours of
    # that name, and nothing is known of it.
    if sum(theirs) != sum(ours) or before == heads:
        return []
    env = shown_env(settings)
    if theirs != ours:
        raise UserError(
            f"the agent was trained on {env}, where it chooses among "
            f"{_sizes(before)}, and the scenario {scenario} asks for {_sizes(heads)}; "
            "leave --scenario out, or name one that asks for the same"
        )
    return [
        f"the agent was trained on {env}, where its choices press other buttons than "
        f"in {scenario}"
    ]


def check_measurements(
    settings: Settings, layout: Layout, measured: int, scenario: str
) -> list[str]:
    """Refuse a network that reads other measurements than the scenario has.

    One that reads none is fine: Sample Factory's encoder for Doom did not find them
    with the Gymnasium of 2022 and 2023, so that the agents of that time see the image
    alone, and this one is shown no more here.

    Returns:
        A note if it reads none where the scenario has some.
    """
    read = layout.observation.measurements
    if read == measured:
        return []
    if not read:
        return [
            f"this agent sees the image alone, without the {measured} measurements of "
            f"{scenario} (--no-measurements): its network has no layers for them"
        ]
    raise UserError(
        f"the checkpoint's network reads {read} measurements and the scenario "
        f"{scenario} has {measured}; name the scenario that it was trained on with "
        f"--scenario (there it was {shown_env(settings)})"
    )


def _sizes(heads: tuple[Head, ...]) -> str:
    return " x ".join(str(len(head)) for head in heads)
