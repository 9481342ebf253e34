"""`resolve`: finds an environment in Gymnasium's registry and reads its spaces."""

from dataclasses import dataclass

from gymnasium.envs.registration import EnvSpec as RegistryEntry

from jaxfactory.config.env import EnvConfig
from jaxfactory.envs.gymnasium import registry
from jaxfactory.envs.gymnasium.actions import ActionCodec
from jaxfactory.envs.gymnasium.observations import ObservationCodec
from jaxfactory.scenarios.maps.map_file import MapFile
from jaxfactory.spec import EnvSpec


@dataclass(frozen=True, kw_only=True)
class ResolvedGymnasium:
    """A Gymnasium environment, fully resolved; implements `envs.family.ResolvedEnv`.

    Attributes:
        config: The settings that it was resolved from.
        entry: Its entry in Gymnasium's registry.
        observations: Converts its observations.
        actions: Converts its actions.
        spec: Shapes of observations and actions.
    """

    config: EnvConfig
    entry: RegistryEntry
    observations: ObservationCodec
    actions: ActionCodec
    spec: EnvSpec

    def map_file(self) -> None:
        """Return None: there are no maps."""

    def map_notes(self, used: MapFile, trained: tuple[MapFile, ...]) -> list[str]:
        """Return nothing: there are no maps."""
        del used, trained
        return []

    def map_warning(self) -> str:
        """Return nothing: there are no maps."""
        return ""


def resolve(config: EnvConfig) -> ResolvedGymnasium:
    """Find an environment, make it once and read its spaces.

    Raises:
        UserError: If it is not registered, cannot be created, or has an unsupported
            space.
    """
    entry = registry.find(config.scenario)
    env = registry.make(entry, config.frame_skip, config.timeout, None)
    observations = ObservationCodec(env.observation_space)
    actions = ActionCodec(env.action_space)
    env.close()
    return ResolvedGymnasium(
        config=config,
        entry=entry,
        observations=observations,
        actions=actions,
        spec=EnvSpec(observations.spec, actions.spec),
    )
