"""Checks that a downloaded checkpoint fits the settings that came with it."""

from collections.abc import Mapping

from jaxfactory._util.errors import UserError
from jaxfactory.config.train import Config


def check_fits(config: Config, leaves: Mapping[str, str]) -> None:
    """Check that a checkpoint fits its settings and its scenario.

    Settings can describe a network of any size. Restoring would allocate it before
    noticing that the checkpoint holds a different one.

    Args:
        config: The run's settings.
        leaves: The checkpoint's arrays, like ``{"params.policy.bias": "float32[5]"}``.

    Raises:
        UserError: If they do not fit.
    """
    _check_actions(config, leaves)
    from jaxfactory.models.encoders import ENCODERS

    if config.network.encoder in ENCODERS:
        _check_network(config, leaves)


def _check_network(config: Config, leaves: Mapping[str, str]) -> None:
    from jaxfactory.checkpoints.checkpoint_files import fields_of, first_difference
    from jaxfactory.checkpoints.policy import parameter_shapes, variables_in
    from jaxfactory.models.actor_critic import ActorCritic
    from jaxfactory.spec import ActionSpec, EnvSpec, ObservationSpec

    def shape(name: str) -> tuple[int, ...]:
        _, _, sizes = leaves.get(name, "").rstrip("]").partition("[")
        return tuple(int(size) for size in sizes.split(",") if size)

    image = shape("normalizer.obs.image.mean")
    spec = EnvSpec(
        ObservationSpec(
            image=image if len(image) == 3 else None,
            measurements=sum(shape("normalizer.obs.measurements.mean")),
        ),
        # Splitting the same actions into several heads gives the same parameters.
        ActionSpec(
            heads=shape("params.policy.bias"),
            continuous=sum(shape("params.mean.bias")),
        ),
        variables=variables_in(leaves),
    )
    expected = parameter_shapes(ActorCritic(spec, config.network))
    different = first_difference(fields_of(leaves, expected), expected)
    if different:
        raise UserError(
            f"the repository's checkpoint does not fit its settings: {different}; "
            "the repository is damaged, pull another --revision"
        )


def _check_actions(config: Config, leaves: Mapping[str, str]) -> None:
    """Refuse a built-in scenario whose action space is not the agent's."""
    from jaxfactory.scenarios import scenario_table

    if config.env.scenario not in scenario_table.names():
        return
    row = scenario_table.find(config.env.scenario)
    heads = row.action_heads(row.load())
    bias = leaves.get("params.policy.bias")
    wanted = f"float32[{sum(len(head) for head in heads)}]"
    if bias is not None and bias != wanted:
        raise UserError(
            f"the scenario {config.env.scenario} has other actions than this agent "
            f"({wanted} and {bias[:40]}); if the repository contains its own scenario, "
            "add --trust-scenario, or name another one with --scenario"
        )
