"""The options of `jaxfactory tournament`, in a module that starts no JAX."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from jaxfactory._util.errors import UserError
from jaxfactory.config import validation
from jaxfactory.config.env import MAX_ENVS
from jaxfactory.config.train import MAX_EPISODES


@dataclass(frozen=True, kw_only=True)
class TournamentOptions:
    """Run a round robin of agents in matches of two, and rate them.

    Each pair plays half of its matches from each seat. Results are written as JSON, as
    an HTML page and, for the most exciting match, as a video from both seats.
    """

    agents: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """Runs, RUN@best, RUN@latest or RUN@FRAMES for one of their checkpoints, user/repo
    on the Hugging Face Hub, or bot for the engine's own."""
    scenario: str = "duel"
    """Match scenario; its matches get two agents."""
    map: str | None = None
    """Map file (.wad or .pk3) to use instead of the scenario's own."""
    matches: int = 20
    """Matches of each pair, an even number."""
    num_envs: int = 16
    """Environments stepped in parallel, two for each match."""
    timeout: int | None = None
    """End matches after this many tics; by default as the scenario sets it."""
    checkpoint: str = "best"
    """Checkpoint of the runs that are named without one: best, latest or its frames."""
    deterministic: bool = False
    """Take the most probable actions instead of sampling."""
    seed: int = 1000
    """Seed of matches and sampled actions."""
    output: Path = Path("runs/tournament")
    """Directory of the results."""
    video: bool = True
    """Write a video of the most exciting match."""

    def __post_init__(self) -> None:
        validation.positive(self, "matches", "num_envs")
        validation.at_most(self, matches=MAX_EPISODES, num_envs=MAX_ENVS)
        validation.seed(self.seed)
        validation.checkpoint(self.checkpoint)
        if self.matches % 2:
            raise UserError(
                f"--matches {self.matches} must be even, so that each agent has either "
                f"seat equally often; try {self.matches + 1}"
            )
