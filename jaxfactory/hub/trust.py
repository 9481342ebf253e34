"""Decides which settings of an untrusted repository a downloaded run may use.

Settings can name Python code, maps (which the engine parses without protection) and
accounts to log to. From a repository only built-in names are accepted; the user must
give everything else on the command line.
"""

import dataclasses
import re
import shutil
from pathlib import Path
from typing import NamedTuple

from jaxfactory._util import plugins
from jaxfactory._util.errors import UserError
from jaxfactory.config.train import Config
from jaxfactory.hub import push
from jaxfactory.scenarios import game_args


# A map and the file that describes it; Python executes neither.
SCENARIO_FILES = (".cfg", ".wad", ".pk3")
_REPOSITORY = re.compile(r"\w[\w.-]*/\w[\w.-]*", re.ASCII)


class Choices(NamedTuple):
    """The user's choices about a downloaded run.

    Attributes:
        scenario: Overrides the repository's scenario; "" keeps it.
        encoder: Overrides the repository's encoder; "" keeps it.
        trust_scenario: Whether the repository's scenario files may be used.
        weights_only: Only the weights will be read. Nothing that the settings name is
            looked up, and nothing is refused.
    """

    scenario: str = ""
    encoder: str = ""
    trust_scenario: bool = False
    weights_only: bool = False


class Settled(NamedTuple):
    """The settings to use.

    Attributes:
        config: Settings that name no file of the repository except, if it is trusted,
            ``scenario/NAME.cfg``.
        files: Scenario files to copy.
        notes: One sentence for each deviation from the repository's settings.
    """

    config: Config
    files: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()


def settle(config: Config, folder: Path, choices: Choices) -> Settled:
    """Decide which of a repository's settings are used.

    Args:
        config: The repository's settings.
        folder: The downloaded repository.
        choices: The user's choices.

    Raises:
        UserError: If the settings name code or a scenario that the user has not named.
    """
    config = _without_privileges(config)
    if choices.weights_only:
        return Settled(config)
    config = _with_encoder(config, choices.encoder)
    included = scenario_files(folder)
    if choices.scenario:
        return _users_scenario(config, choices.scenario, included)
    if not config.env.scenario.startswith(f"{push.SCENARIO}/"):
        _check_name(config.env.scenario)
        return Settled(config)
    cfg = _included_cfg(config.env.scenario, included)
    if choices.trust_scenario:
        return _trusted_scenario(config, cfg, included)
    return _built_in_scenario(config, cfg, included)


def _without_privileges(config: Config) -> Config:
    """Remove what no repository may set: game arguments, maps, paths, accounts."""
    env = dataclasses.replace(config.env, allow_game_args=False, map=None)
    origin = config.init_from
    if origin is not None and not _REPOSITORY.fullmatch(origin):
        origin = None
    config = dataclasses.replace(config, env=env, init_from=origin)
    return push.without_accounts(config)


def _users_scenario(config: Config, scenario: str, included: list[Path]) -> Settled:
    """Use the scenario that the user named."""
    notes = ()
    if included:
        notes = (f"the repository's own scenario is not used: {_listed(included)}",)
    return Settled(_with_scenario(config, scenario), (), notes)


def _included_cfg(scenario: str, included: list[Path]) -> Path:
    """Return the .cfg file in the repository that its settings name."""
    cfg = next((f for f in included if f.name == scenario.partition("/")[2]), None)
    if cfg is None or cfg.suffix != ".cfg" or ":" in scenario:
        raise UserError(
            f"the repository's settings name the scenario {scenario[:80]!r}, which is "
            "not a .cfg file in the repository; name one with --scenario"
        )
    return cfg


def _trusted_scenario(config: Config, cfg: Path, included: list[Path]) -> Settled:
    """Use the repository's own scenario."""
    _check_game_args(cfg)
    note = f"trusted: the repository's own scenario {_listed(included)}"
    return Settled(config, tuple(included), (note,))


def _built_in_scenario(config: Config, cfg: Path, included: list[Path]) -> Settled:
    """Use the built-in scenario of the same name instead of the repository's."""
    if not _is_built_in(cfg.stem):
        raise UserError(
            f"this agent's scenario comes with it ({_listed(included)}), and the "
            "engine reads such files without protection; look at them on the Hub and "
            "add --trust-scenario, or name a scenario of yours with --scenario"
        )
    note = (
        f"the repository has a scenario of its own ({_listed(included)}), which "
        f"is used only with --trust-scenario: this run uses the built-in {cfg.stem}"
    )
    return Settled(_with_scenario(config, cfg.stem), (), (note,))


def scenario_files(folder: Path) -> list[Path]:
    """Return the scenario files in a repository, sorted by name."""
    found = folder / push.SCENARIO
    if not found.is_dir():
        return []
    return sorted(
        path
        for path in found.iterdir()
        if path.suffix.lower() in SCENARIO_FILES
        and path.is_file()
        and path.name.isprintable()
        and not path.name.startswith(".")
    )


def copy_scenario(files: tuple[Path, ...], run: Path) -> None:
    """Copy a trusted scenario's files into a run and check that they are complete.

    Raises:
        UserError: If its .cfg file or its map is damaged or missing.
    """
    if not files:
        return
    from jaxfactory.scenarios import scenario_table
    from jaxfactory.scenarios.maps import wad_files

    (run / push.SCENARIO).mkdir()
    for file in files:
        shutil.copyfile(file, run / push.SCENARIO / file.name)
    for file in files:
        if file.suffix.lower() == ".cfg":
            row = scenario_table.find(str(run / push.SCENARIO / file.name))
            wad = wad_files.find_map(row.load(), wad_files.iwad())
            beside = wad.parent == (run / push.SCENARIO).resolve()
            # The next push would publish a private file of the user.
            if not beside and wad_files.home(wad) == str(wad.parent):
                raise UserError(
                    f"the repository's {file.name} names the map {wad}, which is "
                    "neither in the repository nor in a package; it cannot be trusted"
                )


def _check_name(scenario: str) -> None:
    """Refuse a scenario that is not built in: it could be any code or file."""
    from jaxfactory.envs import family

    if family.of(scenario).is_installed(scenario):
        return
    raise UserError(
        f"the repository's settings name the scenario {scenario[:80]!r}, which is not "
        "built in and could run code on this machine; if you have that scenario, name "
        "it with --scenario"
    )


def _is_built_in(name: str) -> bool:
    from jaxfactory.scenarios import scenario_table

    return name in scenario_table.names()


def _with_scenario(config: Config, scenario: str) -> Config:
    from jaxfactory.envs import family

    kind = family.of(scenario)
    kind.find(scenario)
    env = dataclasses.replace(config.env, scenario=kind.reference(scenario))
    return dataclasses.replace(config, env=env)


def _with_encoder(config: Config, encoder: str) -> Config:
    from jaxfactory.models.encoders import ENCODERS

    name = config.network.encoder
    if not encoder and name not in ENCODERS:
        raise UserError(
            f"this agent's encoder is its author's Python code, {name[:80]!r}, which "
            "is never downloaded; if you have the code, name it with "
            "--network FILE.py:Class"
        )
    name = plugins.pinned(encoder) if encoder else name
    network = dataclasses.replace(config.network, encoder=name)
    return dataclasses.replace(config, network=network)


def _check_game_args(cfg: Path) -> None:
    from jaxfactory.scenarios.cfg_file import read_cfg

    odd = game_args.unknown(read_cfg(cfg).game_args)
    if odd is not None:
        raise UserError(
            f"the repository's {cfg.name} has game_args with {odd[:80]!r}, which could "
            "make the engine write files or run commands; it cannot be trusted"
        )


def _listed(files: list[Path]) -> str:
    sizes = (max(1, file.stat().st_size >> 10) for file in files)
    return ", ".join(f"{f.name} ({size:,} KiB)" for f, size in zip(files, sizes))
