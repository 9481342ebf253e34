"""The flags of ``jaxfactory train``, over the defaults of a preset or of a run."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxfactory._util.errors import UserError, did_you_mean
from jaxfactory.config import families, flags, runs, validation
from jaxfactory.config.env import MAX_ENVS
from jaxfactory.config.presets import PRESETS
from jaxfactory.config.train import Config
from jaxfactory.training import init_from


@dataclass(frozen=True, kw_only=True)
class TrainOptions(Config):
    """Train an agent, or resume the run given by --run."""

    run: Path | None = None
    """Run directory, resumed if it exists; without it, a new one under runs/."""
    preset: str | None = None
    """Preset that supplies the defaults: default, short_horizon (learns sooner where
    rewards follow actions within seconds), reference or gymnasium. Without it,
    short_horizon for health_gathering and health_gathering_supreme, gymnasium for
    Gymnasium environments, and default for all others."""
    replay_config: Path | None = None
    """Train a new run with all settings of this config.json, for example of another
    run; other flags change single ones. A warning lists versions that differ from
    that run's."""
    callback: tuple[str, ...] = ()
    """Custom functions to call after each update, module:function or
    file.py:function."""
    devices: str = "1"
    """Devices of each process that share the environments and the update: a number, or
    all. A CPU is one device unless JAX_NUM_CPU_DEVICES says otherwise."""
    coordinator: str | None = None
    """With several processes: host and port of process 0, which all can reach. Found
    by itself under Slurm, Open MPI and Kubernetes; see also `jaxfactory launch`."""
    num_processes: int | None = None
    """Processes that train together; --num-envs is each one's."""
    process_id: int | None = None
    """Number of this process, from 0. Process 0 writes the run directory."""
    step_timeout: float = 300.0
    """Seconds after which a process that does not answer, or that the others wait for,
    ends training with several processes. Longer than a rollout and an update take."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.devices != "all" and not (
            self.devices.isdecimal() and 0 < int(self.devices) <= MAX_ENVS
        ):
            raise UserError(f"--devices {self.devices} must be a number, or all")
        validation.within(self, "step_timeout", 5.0, 1e6)


def parse_train(args: Sequence[str]) -> TrainOptions:
    """Parse the flags of ``train`` over the defaults of a preset or a stored run.

    Raises:
        UserError: If a flag or a value is wrong.
    """
    args = flags.unaliased(args)
    # These two determine the defaults of all others, so they are read first.
    flags.check_flags(args, TrainOptions, "train")
    preset, run = _peek(args, "--preset"), _peek(args, "--run")
    if preset is not None and preset not in PRESETS:
        hint = did_you_mean(preset, PRESETS) or f"; there are {', '.join(PRESETS)}"
        raise UserError(f"there is no preset {preset!r}{hint}")
    existing = bool(run) and runs.is_run(Path(run))
    replay = _peek(args, "--replay-config")
    if replay and (existing or preset is not None):
        other = f"--run {run} has settings" if existing else "--preset gives others"
        raise UserError(
            f"--replay-config {replay} supplies all settings, and {other}; leave one "
            "of them out"
        )
    source = None if existing or replay else _peek(args, "--init-from")
    scenario = _peek(args, "--scenario")
    if scenario is None:
        scenario = init_from.scenario_of(source) if source else Config().env.scenario
    base = _defaults(preset or families.preset_of(scenario), args)
    if existing:
        # For an existing run, a preset changes only its own non-default settings.
        base = _overlay(runs.load_config(Path(run)), PRESETS[preset or "default"])
    elif replay:
        base = runs.read_config(Path(replay))
    elif source:
        base = _begun_from(source, base, scenario, _peek(args, "--encoder"))
    fields = {
        field.name: getattr(base, field.name) for field in dataclasses.fields(Config)
    }
    options = flags.parse(TrainOptions, TrainOptions(**fields), args, "train")
    if options.init_from is None:
        return options
    pinned = init_from.pinned(options.init_from)
    return dataclasses.replace(options, init_from=pinned)


def _defaults(preset: str, args: Sequence[str]) -> Config:
    """Return a preset's settings, less those that do not go with a flag."""
    base = PRESETS[preset]
    if _peek(args, "--core") == "none" and base.network.core_skip:
        network = dataclasses.replace(base.network, core_skip=False)
        base = dataclasses.replace(base, network=network)
    if _peek(args, "--resume") == "exact" and base.stagger:
        base = dataclasses.replace(base, stagger=0)
    return base


def _begun_from(
    source: str, base: Config, scenario: str, encoder: str | None
) -> Config:
    """Return the defaults of a new run that starts from another run's weights."""
    env = dataclasses.replace(base.env, scenario=scenario)
    network = base.network
    if encoder is not None:
        network = dataclasses.replace(network, encoder=encoder)
    base = dataclasses.replace(base, env=env, network=network)
    return init_from.with_settings_of(source, base, own_encoder=encoder is not None)


def as_config(options: TrainOptions) -> Config:
    """Return the settings without the flags that only the command line has."""
    fields = dataclasses.fields(Config)
    return Config(**{field.name: getattr(options, field.name) for field in fields})


def _peek(args: Sequence[str], flag: str) -> str | None:
    """Return the last value given to a flag, without parsing the others."""
    value = None
    for index, arg in enumerate(args):
        if arg == flag and index + 1 < len(args):
            value = args[index + 1]
        elif arg.startswith(f"{flag}="):
            value = arg.partition("=")[2]
    return value


def _overlay(stored: Any, preset: Any) -> Any:
    """Return ``stored`` with the non-default settings of ``preset``."""
    changes = {}
    for field in dataclasses.fields(stored):
        old, new = getattr(stored, field.name), getattr(preset, field.name)
        if dataclasses.is_dataclass(old):
            changes[field.name] = _overlay(old, new)
        elif new != getattr(type(preset)(), field.name):
            changes[field.name] = new
    return dataclasses.replace(stored, **changes)
