"""`resolve`: reads everything that defines a Doom environment, once."""

from dataclasses import dataclass
from pathlib import Path

from jaxfactory._util.errors import UserError
from jaxfactory.config.env import EnvConfig
from jaxfactory.envs.doom import engine_config
from jaxfactory.envs.doom.extension import _core
from jaxfactory.scenarios import action_heads, scenario_table
from jaxfactory.scenarios.action_heads import Head
from jaxfactory.scenarios.cfg_file import GameConfig
from jaxfactory.scenarios.maps import map_notes, selection, wad_files
from jaxfactory.scenarios.maps.map_file import MapFile
from jaxfactory.scenarios.match_of import match_of
from jaxfactory.scenarios.matches import Match
from jaxfactory.scenarios.scenario import Scenario
from jaxfactory.spec import EnvSpec, ObservationSpec


@dataclass(frozen=True, kw_only=True)
class ResolvedDoom:
    """A Doom environment, fully resolved; implements `envs.family.ResolvedEnv`.

    Attributes:
        config: The settings that it was resolved from.
        scenario: Its scenario.
        game: The contents of the scenario's .cfg file.
        match: The match; None for single player.
        map_path: Path of its map file.
        heads: Choices of each action head, as names and values of buttons.
        spec: Shapes of observations and actions.
        engine: Configuration of the C++ environments; a pool adds timeouts and
            variables to it.
    """

    config: EnvConfig
    scenario: Scenario
    game: GameConfig
    match: Match | None
    map_path: Path
    heads: tuple[Head, ...]
    spec: EnvSpec
    engine: _core.DoomConfig

    @property
    def agents(self) -> int:
        """Number of environments that share a game: the agents of a match, else 1."""
        return self.match.agents if self.match else 1

    def map_file(self) -> MapFile:
        """Return the map file with its hash."""
        return selection.describe(self.map_path, chosen=self.config.map is not None)

    def map_notes(self, used: MapFile, trained: tuple[MapFile, ...]) -> list[str]:
        """Describe the map, and warn if scores on it do not compare."""
        return map_notes.sentences(
            self.scenario, self.map_path, used, trained, self.config.map
        )

    def map_warning(self) -> str:
        """Return a note if another map replaces the scenario's first choice."""
        return map_notes.before_training(
            self.scenario, self.map_path, self.map_file(), self.config.map
        )


def resolve(config: EnvConfig, scenario: Scenario | None = None) -> ResolvedDoom:
    """Read scenario, .cfg file and map, and derive everything else from them.

    Args:
        config: The settings.
        scenario: Instead of the one that `config` names.

    Raises:
        UserError: If the scenario, its map or the engine does not fit.
    """
    scenario = scenario or scenario_table.find(config.scenario)
    game = scenario.load()
    heads = scenario.action_heads(game)
    if not heads:
        raise UserError(f"{game.path} has no buttons that make an action")
    match = match_of(config, scenario)
    engine_config.check(game, allow_game_args=config.allow_game_args)
    map_path = selection.find(game, config.map, wad_files.iwad())
    engine = engine_config.make(config, scenario, game, heads, match, map_path)
    spec = EnvSpec(
        ObservationSpec(
            image=(config.height, config.width, engine.frame.channels),
            measurements=len(engine.measurements),
        ),
        action_heads.action_spec(heads),
        variables=len(game.variables),
    )
    return ResolvedDoom(
        config=config,
        scenario=scenario,
        game=game,
        match=match,
        map_path=map_path,
        heads=heads,
        spec=spec,
        engine=engine,
    )
