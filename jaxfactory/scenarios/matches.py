"""Matches: multiplayer games of several agents and the engine's bots.

Each agent of a match is one environment with its own engine. Players respawn within
the episode, which ends when the match's time is up.
"""

import re
from dataclasses import dataclass, replace

from jaxfactory._util.errors import UserError
from jaxfactory.scenarios.maps import wad_files


MAX_PLAYERS = 16  # the engine's limit
_TICS_PER_MINUTE = 60 * 35


@dataclass(frozen=True, kw_only=True)
class Match:
    """Players, duration and rules of a multiplayer game.

    Attributes:
        agents: Environments that share the game.
        bots: Players that the engine controls, with new names in each match.
        minutes: Game time until the episode is truncated.
        respawn_delay: Seconds until a dead player respawns.
    """

    agents: int = 1
    bots: int = 0
    minutes: float = 4.0
    respawn_delay: int = 0

    @property
    def tics(self) -> int:
        """Length of a match in tics."""
        return int(self.minutes * _TICS_PER_MINUTE)

    def rules(self) -> list[str]:
        """Return the host's arguments for the deathmatch rules of Sample Factory."""
        return [
            "-deathmatch",
            "+timelimit", f"{self.minutes:g}",
            "+sv_forcerespawn", "1",
            "+sv_noautoaim", "1",
            # Players are invulnerable for two seconds after a respawn.
            "+sv_respawnprotect", "1",
            "+sv_spawnfarthest", "1",
            "+sv_nocrouch", "1",
            "+sv_nojump", "1",
            "+sv_nofreelook", "1",
            "+sv_noexit", "1",
            "+viz_respawn_delay", str(self.respawn_delay),
        ]  # fmt: skip


def resolve(
    match: Match | None,
    scenario: str,
    *,
    num_agents: int | None = None,
    num_bots: int | None = None,
    queued: bool = False,
) -> Match | None:
    """Return a scenario's match with the requested numbers of players.

    Args:
        match: The scenario's own match; None if it is not a match.
        scenario: Its name.
        num_agents: Agents; None keeps the scenario's own number.
        num_bots: Bots; None keeps the scenario's own number.
        queued: Whether all tics of a step are sent at once.

    Raises:
        UserError: If it is not a match, or there are too many players.
    """
    for flag, number in (("--num-agents", num_agents), ("--num-bots", num_bots)):
        if match is None and number is not None:
            raise UserError(
                f"{flag} {number} is for matches, and {scenario} is none; leave it out "
                "or choose duel, dm, dwango5, deathmatch_full, duel_bots or "
                "deathmatch_bots"
            )
    if match is None:
        return None
    if num_agents is not None:
        match = replace(match, agents=num_agents)
    if num_bots is not None:
        match = replace(match, bots=num_bots)
    players = match.agents + match.bots
    if players > MAX_PLAYERS:
        raise UserError(
            f"{match.agents} agents and {match.bots} bots are {players} players, but "
            f"the engine takes {MAX_PLAYERS}; lower --num-agents or --num-bots"
        )
    names = bot_names()
    if match.bots > len(names):
        raise UserError(
            f"--num-bots {match.bots} is more than the {len(names)} bots that vizdoom "
            "has"
        )
    if queued and match.agents > 1:
        raise UserError(
            "--tics queued is not for matches: an engine that runs ahead of the others "
            "waits for them forever; use --tics exact"
        )
    return match


def check_rows(num_envs: int, num_groups: int, agents: int) -> None:
    """Check that the environments make up whole matches in each group.

    Raises:
        UserError: If they do not; the message names the nearest number that does.
    """
    unit = agents * num_groups
    if num_envs % unit == 0:
        return
    near = max(1, round(num_envs / unit)) * unit
    raise UserError(
        f"--num-envs {num_envs} must be a multiple of {unit}, because each of "
        f"--num-groups {num_groups} holds whole matches of {agents} agents; try {near}"
    )


def whole(num_envs: int, agents: int) -> int:
    """Round down to whole matches, at least one."""
    return max(agents, num_envs // agents * agents)


def bot_names() -> list[str]:
    """Return the names in the vizdoom package's bots.cfg."""
    text = (wad_files.vizdoom_folder() / "bots.cfg").read_text(encoding="utf-8")
    return re.findall(r"^\s*name\s+(\S+)", text, re.MULTILINE)
