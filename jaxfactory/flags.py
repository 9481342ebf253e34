"""Flags into settings: every mistake is one sentence, and JAX is not started."""

import contextlib
import dataclasses
import io
import re
import typing
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from jaxfactory import init_from, runs
from jaxfactory.config import Config, EvaluateOptions
from jaxfactory.env_config import gymnasium_id
from jaxfactory.errors import UserError, did_you_mean
from jaxfactory.presets import PRESETS


Options = TypeVar("Options")


@dataclass(frozen=True, kw_only=True)
class TrainOptions(Config):
    """Train an agent, or go on with the run that --run names."""

    run: Path | None = None
    """Run directory, resumed if it exists; without it, a new one under runs/."""
    preset: str = "default"
    """Where the defaults come from: default or reference, for Gymnasium's environments
    gymnasium."""
    callback: tuple[str, ...] = ()
    """Functions of your own called at every iteration, module:function or
    file.py:function."""


# What other commands take as their first word, these take after a flag.
_NAMED_WITH = {
    TrainOptions: ("a scenario", "--scenario"),
    EvaluateOptions: ("a run", "--run"),
}


def parse_train(args: Sequence[str]) -> TrainOptions:
    """Parse the flags of ``train`` over the defaults of a preset or a stored run.

    Raises:
        UserError: If a flag or a value is wrong.
    """
    args = unaliased(args)
    # These two decide the defaults of all others, so they are read first.
    check_flags(args, TrainOptions, "train")
    preset, run = _peek(args, "--preset"), _peek(args, "--run")
    if preset is not None and preset not in PRESETS:
        hint = did_you_mean(preset, PRESETS) or f"; there are {', '.join(PRESETS)}"
        raise UserError(f"there is no preset {preset!r}{hint}")
    existing = bool(run) and runs.is_run(Path(run))
    source = None if existing else _peek(args, "--init-from")
    scenario = _peek(args, "--scenario") or ""
    if source and not scenario:
        scenario = init_from.scenario_of(source)
    usual = "default" if gymnasium_id(scenario) is None else "gymnasium"
    base = PRESETS[preset or usual]
    if existing:
        # A preset given for an existing run sets what it is about, nothing else.
        base = _overlay(runs.load_config(Path(run)), PRESETS[preset or "default"])
    elif source:
        base = _begun_from(source, base, scenario, _peek(args, "--encoder"))
    fields = {
        field.name: getattr(base, field.name) for field in dataclasses.fields(Config)
    }
    options = parse(TrainOptions, TrainOptions(**fields), args, "train")
    if options.init_from is None:
        return options
    pinned = init_from.pinned(options.init_from)
    return dataclasses.replace(options, init_from=pinned)


def _begun_from(
    source: str, base: Config, scenario: str, encoder: str | None
) -> Config:
    """Return the defaults of a new run that begins with another's weights."""
    env = dataclasses.replace(base.env, scenario=scenario)
    network = base.network
    if encoder is not None:
        network = dataclasses.replace(network, encoder=encoder)
    base = dataclasses.replace(base, env=env, network=network)
    return init_from.with_settings_of(source, base, own_encoder=encoder is not None)


def as_config(options: TrainOptions) -> Config:
    """Return the settings without the flags that only the command line knows."""
    fields = dataclasses.fields(Config)
    return Config(**{field.name: getattr(options, field.name) for field in fields})


def parse(
    kind: type[Options], default: Options | None, args: Sequence[str], command: str
) -> Options:
    """Parse flags into a dataclass; every mistake is one sentence.

    Args:
        kind: The dataclass.
        default: Holds the defaults; none, where the dataclass's own are taken and
            its fields without one are positional.
        args: The flags.
        command: Named in the help.

    Raises:
        UserError: If a flag or a value is wrong.
    """
    import tyro

    args = unaliased(args)
    check_flags(args, kind, command)
    complaint = io.StringIO()
    defaults = {} if default is None else {"default": default}
    try:
        with contextlib.redirect_stderr(complaint):
            return tyro.cli(
                kind,
                prog=f"jaxfactory {command}",
                args=list(args),
                config=(tyro.conf.OmitArgPrefixes, tyro.conf.PositionalRequiredArgs),
                **defaults,
            )
    except SystemExit as stop:
        if not stop.code:
            raise  # After --help.
        raise UserError(_sentence(complaint.getvalue(), command)) from None


def check_flags(args: Sequence[str], kind: Any, command: str) -> None:
    """Refuse flags that the dataclass has not, naming the nearest one.

    Raises:
        UserError: If there is one, or a first word without its flag.
    """
    flags = {"--help", "-h", *_flags(kind)}
    if args and not args[0].startswith("-") and kind in _NAMED_WITH:
        what, flag = _NAMED_WITH[kind]
        raise UserError(
            f"{command} takes {args[0]!r} only after a flag; "
            f"{what} is named with {flag}"
        )
    for arg in args:
        flag = arg.partition("=")[0]
        if flag.startswith("--") and flag.replace("_", "-") not in flags:
            help_hint = f"; see `jaxfactory {command} --help`"
            hint = did_you_mean(flag, flags) or help_hint
            raise UserError(f"{command} has no flag {flag!r}{hint}")


# Other names of flags; their help says so.
_ALIASES = {"--network": "--encoder", "--env": "--scenario"}


def unaliased(args: Sequence[str]) -> list[str]:
    """Give every flag its first name."""
    parts = [arg.partition("=") for arg in args]
    return ["".join((_ALIASES.get(flag, flag), *rest)) for flag, *rest in parts]


def _flags(kind: Any) -> list[str]:
    flags = []
    hints = typing.get_type_hints(kind)
    for field in dataclasses.fields(kind):
        name = field.name.replace("_", "-")
        if field.default is field.default_factory is dataclasses.MISSING:
            continue  # Positional.
        if dataclasses.is_dataclass(hints[field.name]):
            flags += _flags(hints[field.name])
        elif hints[field.name] is bool:
            flags += [f"--{name}", f"--no-{name}"]
        else:
            flags.append(f"--{name}")
    return flags


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
    """Return ``stored`` with the settings in which ``preset`` is not the default."""
    changes = {}
    for field in dataclasses.fields(stored):
        old, new = getattr(stored, field.name), getattr(preset, field.name)
        if dataclasses.is_dataclass(old):
            changes[field.name] = _overlay(old, new)
        elif new != getattr(type(preset)(), field.name):
            changes[field.name] = new
    return dataclasses.replace(stored, **changes)


# What Python and tyro say, and what a user should read.
_PLAIN_WORDS = (
    ("invalid literal for int() with base 10:", "not a whole number:"),
    ("could not convert string to float:", "not a number:"),
    ("Could not find valid parse for arguments:", "these values do not fit:"),
    ("Unrecognized options:", "there is no flag that takes this:"),
    ("Missing value for argument", "a value is missing after"),
    (". Expected 1 values", ""),
    ("invalid choice", "there is no choice"),
    (" for argument ", " for "),
    (". Expected one of", "; choose one of"),
)


def _sentence(box: str, command: str) -> str:
    """Take the complaint out of the box that tyro draws around it."""
    lines = [line.strip().strip("│").strip() for line in box.splitlines()]
    lines = [line for line in lines if line]
    # The title, which stands in the frame or, where the terminal knows only ASCII, over
    # a rule of its own.
    plain = len(lines) > 1 and set(lines[1]) == {"-"}
    words: list[str] = []
    for text in lines[2 if plain else 1 :]:
        if text.startswith(("─", "╰")) or set(text) == {"-"}:
            break
        words.append(text)
    text = " ".join(words).rstrip(".")
    place, separator, rest = text.partition(": ")
    if separator and place.startswith("Error parsing"):
        flag = place.removeprefix("Error parsing ")
        # A dataclass's own complaint names its flags; a bare value's does not.
        text = f"{flag}: {rest}" if flag.startswith("--") else rest
    if separator and place.startswith("Missing from"):
        missing = [part.split()[0] for part in rest.split("(required)") if part.strip()]
        names = " and ".join(missing)
        return f"{command} lacks {names}; see `jaxfactory {command} --help`"
    for theirs, ours in _PLAIN_WORDS:
        text = text.replace(theirs, ours)
    # Of a value that may be missing, what is wrong with it as one that is there.
    text = re.sub(r"no type matching .* - <class '\w+'>: ", "", text)
    return text or f"the flags are wrong; see `jaxfactory {command} --help`"
