"""The agents of a tournament: runs, checkpoints, agents on the Hub, and the bot."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from jaxfactory._util.errors import UserError
from jaxfactory.checkpoints.policy import TrainedPolicy, load_policy
from jaxfactory.checkpoints.saved_run import SavedRun, load_for_evaluation
from jaxfactory.config import families, validation
from jaxfactory.config.env import EnvConfig
from jaxfactory.models.actor_critic import ActorCritic
from jaxfactory.spec import EnvSpec
from jaxfactory.training import init_from


BOT = "bot"
# Settings that determine what an agent sees and how long its actions last: the agents
# of a match share them.
_SHARED = (
    "frame_skip", "width", "height", "screen_width", "screen_height", "wide",
    "grayscale", "depth", "labels", "automap", "measurements",
)  # fmt: skip


class Entrant(NamedTuple):
    """One agent of a tournament.

    Attributes:
        name: As it was given.
        saved: Its checkpoint; None for the engine's bot.
    """

    name: str
    saved: SavedRun | None

    @property
    def frames(self) -> int:
        """Frames it was trained for; 0 for the bot."""
        return self.saved.frames if self.saved else 0


def find(names: Sequence[str], checkpoint: str) -> list[Entrant]:
    """Return the agents that names refer to.

    Args:
        names: Each a run's directory or user/repo on the Hub, perhaps with
            ``@CHECKPOINT``, or ``bot``.
        checkpoint: The checkpoint of those that name none.

    Raises:
        UserError: If one does not exist, or their number does not fit.
    """
    if len(names) < 2:
        raise UserError(
            f"a tournament needs two agents or more, and got {len(names)}; name runs, "
            "RUN@FRAMES for a kept checkpoint, user/repo on the Hub, or bot"
        )
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise UserError(f"{twice} is named twice; leave one of them out")
    if len(names) - names.count(BOT) < 1:
        raise UserError("a tournament needs an agent; name a run besides the bot")
    return [_find(name, checkpoint) for name in names]


def _find(name: str, checkpoint: str) -> Entrant:
    if name == BOT:
        return Entrant(name, None)
    place, separator, wanted = name.rpartition("@")
    if not separator or Path(name).is_dir():
        place, wanted = name, checkpoint
    elif not validation.names_checkpoint(wanted):
        raise UserError(
            f"{name}: {wanted!r} must be best, latest, or the frames of a checkpoint "
            "that --keep-every kept, as in runs/duel@1000000"
        )
    try:
        return Entrant(name, load_for_evaluation(init_from.find(place), wanted))
    except UserError as error:
        text = str(error).replace("--init-from ", "")
        raise UserError(f"the agent {name} cannot be read: {text}") from error


def shared_env(entrants: Sequence[Entrant]) -> EnvConfig:
    """Return the settings of environments in which all agents can act.

    Raises:
        UserError: If two agents were trained with other observations or frame skips, or
            one not on Doom.
    """
    first = None
    for entrant in entrants:
        if entrant.saved is None:
            continue
        env = entrant.saved.config.env
        if families.of(env.scenario) is not families.FAMILIES[""]:
            raise UserError(
                f"the agent {entrant.name} was trained on {env.scenario}, which has "
                "no matches; leave it out"
            )
        if first is None:
            first, shared = entrant, env
        for name in _SHARED:
            ours, theirs = getattr(shared, name), getattr(env, name)
            if ours != theirs:
                raise UserError(
                    f"the agents of a match share their observations, but "
                    f"{first.name} was trained with {name} {ours} and {entrant.name} "
                    f"with {theirs}; leave one of them out"
                )
    chosen = {name: getattr(shared, name) for name in (*_SHARED, "engine")}
    return dataclasses.replace(EnvConfig(scenario="duel"), **chosen)


def load(entrant: Entrant, spec: EnvSpec, scenario: str) -> TrainedPolicy:
    """Read an agent's policy.

    Args:
        entrant: The agent; not the bot.
        spec: Shapes of the tournament's observations and actions.
        scenario: Name of the tournament's scenario, for messages.

    Raises:
        UserError: If it is damaged, or does not fit the scenario.
    """
    assert entrant.saved is not None
    try:
        network = ActorCritic(spec, entrant.saved.config.network)
        return load_policy(entrant.saved, network)
    except UserError as error:
        text = str(error).replace("; give --run another directory", "")
        raise UserError(
            f"the agent {entrant.name} cannot play {scenario}: {text}; leave it out, "
            "or choose the --scenario that it was trained on"
        ) from error
