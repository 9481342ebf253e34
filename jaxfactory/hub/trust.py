"""What a stranger's repository may decide about the run that is made of it.

Settings can name Python code, a map for an engine that parses it unprotected, and
accounts to report to. Of a repository only names of the built-in tables are accepted;
everything else the user must give on the command line.
"""

import dataclasses
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from jaxfactory._util import plugins
from jaxfactory._util.errors import UserError
from jaxfactory.config.env import gymnasium_id
from jaxfactory.config.train import Config
from jaxfactory.hub import push
from jaxfactory.scenarios import game_args


# A map and the file that describes it; nothing of them is run by Python.
SCENARIO_FILES = (".cfg", ".wad", ".pk3")
_REPOSITORY = re.compile(r"\w[\w.-]*/\w[\w.-]*", re.ASCII)
_GYMNASIUM_NAME = re.compile(r"(\w[\w.-]*/)?\w[\w.-]*", re.ASCII)


class Choices(NamedTuple):
    """What the user said on the command line about a pulled run.

    Attributes:
        scenario: Takes the place of the repository's, "" for none.
        encoder: Takes the place of the repository's, "" for none.
        trust_scenario: Whether the scenario's files in the repository may be used.
        weights_only: The run is only read for its weights: nothing that its settings
            name is looked for, and nothing is refused.
    """

    scenario: str = ""
    encoder: str = ""
    trust_scenario: bool = False
    weights_only: bool = False


class Settled(NamedTuple):
    """What was decided.

    Attributes:
        config: Settings that name nothing of the repository's but, where it is
            trusted, ``scenario/NAME.cfg``.
        files: Of the scenario, to be copied.
        notes: What is done otherwise than the repository says, a sentence each.
    """

    config: Config
    files: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()


def settle(config: Config, folder: Path, choices: Choices) -> Settled:
    """Decide what of a repository's settings stands.

    Args:
        config: The repository's settings.
        folder: Where its files are.
        choices: The user's.

    Raises:
        UserError: If they name code or a scenario that the user has not named.
    """
    env = dataclasses.replace(config.env, allow_game_args=False, map=None)
    origin = config.init_from
    if origin is not None and not _REPOSITORY.fullmatch(origin):
        origin = None
    config = dataclasses.replace(config, env=env, init_from=origin)
    config = push.without_accounts(config)
    if choices.weights_only:
        return Settled(config)
    config = _with_encoder(config, choices.encoder)
    brought = scenario_files(folder)
    named = ", ".join(f"{file.name} ({_size(file)})" for file in brought)
    scenario = config.env.scenario
    if choices.scenario:
        notes = (f"its own scenario is not used: {named}",) if brought else ()
        return Settled(_with_scenario(config, choices.scenario), (), notes)
    if not scenario.startswith(f"{push.SCENARIO}/"):
        _check_name(scenario)
        return Settled(config)
    cfg = next((f for f in brought if f.name == scenario.partition("/")[2]), None)
    if cfg is None or cfg.suffix != ".cfg" or ":" in scenario:
        raise UserError(
            f"the repository's settings name a scenario {scenario[:80]!r} that is no "
            ".cfg file in it; name one with --scenario"
        )
    if choices.trust_scenario:
        _check_game_args(cfg)
        note = f"trusted: the repository's own scenario {named}"
        return Settled(config, tuple(brought), (note,))
    if not _is_built_in(cfg.stem):
        raise UserError(
            f"this agent's scenario comes with it ({named}), and the engine reads such "
            "files without protection; look at them on the Hub and add "
            "--trust-scenario, or name a scenario of yours with --scenario"
        )
    note = (
        f"the repository brings a scenario of its own ({named}), which is not used "
        f"without --trust-scenario: this run uses the built-in {cfg.stem}"
    )
    return Settled(_with_scenario(config, cfg.stem), (), (note,))


def scenario_files(folder: Path) -> list[Path]:
    """Return a scenario's files in a repository, sorted by name."""
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
    """Copy a trusted scenario's files into a run, and look whether they can work.

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
            # A file of the user's would be published with the next push.
            if not beside and wad_files.home(wad) == str(wad.parent):
                raise UserError(
                    f"the repository's {file.name} names the map {wad}, which is "
                    "neither in the repository nor in a package; it cannot be trusted"
                )


def check_fits(config: Config, leaves: Mapping[str, str]) -> None:
    """Compare a checkpoint with the settings that came with it, and its scenario.

    Settings can describe a network of any size, which would be made before it turned
    out that it is another one.

    Args:
        config: The run's settings.
        leaves: The checkpoint's, as in ``{"params.policy.bias": "float32[5]"}``.

    Raises:
        UserError: If they differ.
    """
    _check_actions(config, leaves)
    from jaxfactory.models.encoders import ENCODERS

    if config.network.encoder in ENCODERS:
        _check_network(config, leaves)


def _check_network(config: Config, leaves: Mapping[str, str]) -> None:
    from jaxfactory.checkpoints.checkpoint_files import fields_of, first_difference
    from jaxfactory.checkpoints.policy import parameter_shapes
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
        # How the choices are split into heads does not matter for the parameters.
        ActionSpec(
            heads=shape("params.policy.bias"),
            continuous=sum(shape("params.mean.bias")),
        ),
    )
    expected = parameter_shapes(ActorCritic(spec, config.network))
    different = first_difference(fields_of(leaves, expected), expected)
    if different:
        raise UserError(
            f"the repository's checkpoint does not fit its settings: {different}; "
            "the repository is damaged: pull another --revision"
        )


def _check_actions(config: Config, leaves: Mapping[str, str]) -> None:
    """Refuse a built-in scenario that asks for other actions than the agent decides."""
    from jaxfactory.scenarios import scenario_table

    if not _is_built_in(config.env.scenario):
        return
    row = scenario_table.find(config.env.scenario)
    heads = row.action_heads(row.load())
    bias = leaves.get("params.policy.bias")
    wanted = f"float32[{sum(len(head) for head in heads)}]"
    if bias is not None and bias != wanted:
        raise UserError(
            f"the scenario {config.env.scenario} asks for other actions than this "
            f"agent decides about ({wanted} and {bias[:40]}); if the repository brings "
            "its own scenario add --trust-scenario, or name another with --scenario"
        )


def _check_name(scenario: str) -> None:
    """Refuse a scenario that is in no table: it could be anybody's code or file."""
    gymnasium = gymnasium_id(scenario)
    if gymnasium is None and _is_built_in(scenario):
        return
    if gymnasium is not None and _GYMNASIUM_NAME.fullmatch(gymnasium):
        return
    raise UserError(
        f"the repository's settings name the scenario {scenario[:80]!r}, which is not "
        "built in and could run code of this machine; if you have that scenario name "
        "it with --scenario"
    )


def _is_built_in(name: str) -> bool:
    from jaxfactory.scenarios import scenario_table

    return name in scenario_table.names()


def _with_scenario(config: Config, scenario: str) -> Config:
    from jaxfactory.scenarios import scenario_table

    if gymnasium_id(scenario) is None:
        scenario_table.find(scenario)
        scenario = scenario_table.reference(scenario)
    env = dataclasses.replace(config.env, scenario=scenario)
    return dataclasses.replace(config, env=env)


def _with_encoder(config: Config, encoder: str) -> Config:
    from jaxfactory.models.encoders import ENCODERS

    name = config.network.encoder
    if not encoder and name not in ENCODERS:
        raise UserError(
            f"this agent's encoder is Python code of its author's, {name[:80]!r}, "
            "which a repository cannot bring; if you have it name it with "
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


def _size(file: Path) -> str:
    return f"{max(1, file.stat().st_size >> 10):,} KiB"
