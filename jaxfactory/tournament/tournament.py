"""``jaxfactory tournament``: a round robin of agents in matches of two."""

# ruff: noqa: T201 - the command reports what it does.

import contextlib
import dataclasses
import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jaxfactory._util.errors import UserError
from jaxfactory._util.plain_files import printable
from jaxfactory.config import runs
from jaxfactory.config.env import EnvConfig
from jaxfactory.envs import family
from jaxfactory.envs.pool import open_pool
from jaxfactory.scenarios import scenario_table
from jaxfactory.tournament import entrants as entrants_lib
from jaxfactory.tournament import matches, page
from jaxfactory.tournament.entrants import Entrant
from jaxfactory.tournament.matches import Side
from jaxfactory.tournament.options import TournamentOptions
from jaxfactory.tournament.summary import Pair, most_exciting, summary
from jaxfactory.tournament.video import write_match


RESULTS, PAGE, VIDEO = "tournament.json", "tournament.html", "tournament.mp4"


def run(options: TournamentOptions) -> dict[str, Any]:
    """Run the tournament, print the table and write the files.

    Returns:
        The content of tournament.json.

    Raises:
        UserError: If an agent or the scenario does not fit, or nothing can be written.
    """
    found = entrants_lib.find(options.agents, options.checkpoint)
    env = _env(options, found)
    output = _folder(options.output)
    pairs = _play_all(options, env, found)
    result = summary(options, found, pairs)
    text = json.dumps(result, indent=2) + "\n"
    runs.write_atomically(output / RESULTS, text)
    video = None
    best = most_exciting(pairs)
    if options.video and best is not None:
        video = output / VIDEO
        seconds = write_match(env, best, video)
        print(f"video of the most exciting match ({seconds:.0f} s) written to {video}")
    runs.write_atomically(output / PAGE, page.render(result, video))
    _print_table(result)
    print(f"written to {output / RESULTS} and {output / PAGE}")
    return result


def _env(options: TournamentOptions, found: Sequence[Entrant]) -> EnvConfig:
    """Return the settings of the matches; checks them before engines start."""
    place = options.map and str(Path(options.map).expanduser().absolute())
    env = dataclasses.replace(
        entrants_lib.shared_env(found),
        scenario=options.scenario,
        map=place,
        timeout=options.timeout,
    )
    if scenario_table.find(options.scenario).match is None:
        raise UserError(
            f"--scenario {options.scenario} is not a match; choose duel, dm, dwango5 "
            "or deathmatch_full"
        )
    family.check(env, video=options.video)
    return env


def _folder(output: Path) -> Path:
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"{output} cannot be written ({error.strerror}); give --output another "
            "directory"
        ) from error
    return output


def _play_all(
    options: TournamentOptions, env: EnvConfig, found: Sequence[Entrant]
) -> list[Pair]:
    """Run the matches of all pairs: first those of two agents, then the bot's."""
    count = matches.parallel_matches(options.matches, options.num_envs)
    sides: dict[int, Side] = {}
    played = []
    everyone = itertools.combinations(range(len(found)), 2)
    pairs = {bot: [] for bot in (False, True)}
    for first, second in everyone:
        if found[first].saved is None:  # The bot comes second.
            first, second = second, first
        pairs[found[second].saved is None].append((first, second))
    for bot, these in pairs.items():
        if not these:
            continue
        environment = family.resolve(matches.match_env(env, count, bot=bot))
        # Read before any engine starts.
        for index in {index for pair in these for index in pair} - sides.keys():
            if found[index].saved is not None:
                policy = entrants_lib.load(
                    found[index], environment.spec, options.scenario
                )
                act = policy.make_act(deterministic=options.deterministic)
                sides[index] = Side(policy, act)
        extra = matches.pool_options(bot=bot)
        with contextlib.closing(open_pool(environment, **extra)) as pool:
            for first, second in these:
                who = [sides[index] for index in (first, second) if index in sides]
                entropy = (options.seed, first, second)
                results = list(matches.play(pool, who, options.matches, entropy))
                played.append(Pair(first, second, results))
                names = printable(f"{found[first].name} and {found[second].name}")
                score = sum(result.score for result in results)
                print(f"{names}: {score:g} to {len(results) - score:g}")
    return played


def _print_table(result: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table("", "rating", "95 % interval", "wins", "draws", "losses")
    for column in table.columns[1:]:
        column.justify = "right"
    ranked = sorted(result["agents"], key=lambda agent: -agent["rating"])
    for agent in ranked:
        table.add_row(
            escape(printable(agent["name"])),
            f"{agent['rating']:.0f}",
            f"{agent['rating_low']:.0f} to {agent['rating_high']:.0f}",
            *map(str, page.totals(result, agent["name"])),
        )
    Console().print(table)
