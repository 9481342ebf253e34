"""The ``jaxfactory`` command: train, evaluate, scenarios.

JAX and everything that needs it are imported inside the commands, so that help,
version and mistakes answer at once.
"""

# ruff: noqa: T201 - this is the module that speaks to the user.

import contextlib
import dataclasses
import importlib.metadata
import io
import os
import sys
import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from jaxfactory import runs
from jaxfactory.config import PRESETS, Config, EvaluateOptions
from jaxfactory.errors import UserCodeError, UserError, did_you_mean


Options = TypeVar("Options")

_HELP = """\
usage: jaxfactory COMMAND [OPTIONS]

Train, watch and score agents on ViZDoom.

commands:
  train       train an agent, or go on with a run
  evaluate    play a trained agent's episodes and print its score
  scenarios   list the scenarios

options:
  -h, --help  show this help, or a command's: jaxfactory train --help
  --version   show the version
"""


@dataclass(frozen=True, kw_only=True)
class TrainOptions(Config):
    """Train an agent, or go on with the run that --run names."""

    run: Path | None = None
    """Run directory, resumed if it exists; without it, a new one under runs/."""
    preset: str = "default"
    """Where the defaults come from: default or reference."""


@dataclass(frozen=True, kw_only=True)
class ScenariosOptions:
    """List the scenarios with their buttons, rewards and files."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Args:
        argv: Arguments without the program's name; those of the process by default.

    Returns:
        0, 2 for a mistake of the user, or 128 plus the number of the signal that
        stopped the training.
    """
    args = list(sys.argv[1:] if argv is None else argv)
    try:
        return _dispatch(args)
    except UserError as error:
        print(f"jaxfactory: {error}", file=sys.stderr)
        if isinstance(error, UserCodeError):
            print(error.trace(), end="", file=sys.stderr)
        return 2
    except KeyboardInterrupt as error:
        # A TrainingInterrupted says how to go on; a second Ctrl-C says nothing.
        if str(error):
            print(f"jaxfactory: {error}", file=sys.stderr)
        return 128 + getattr(error, "signum", 2)
    except BrokenPipeError:
        # `jaxfactory scenarios | head`: leave quietly, and keep Python from flushing
        # into the closed pipe when it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _dispatch(args: list[str]) -> int:
    commands: dict[str, Callable[[list[str]], int]] = {
        "train": _train,
        "evaluate": _evaluate,
        "scenarios": _scenarios,
    }
    if not args or args[0] in ("-h", "--help"):
        print(_HELP, end="")
        return 0
    if args[0] == "--version":
        print(f"jaxfactory {_version()}")
        return 0
    name, rest = args[0], args[1:]
    if name not in commands:
        kind = "option" if name.startswith("-") else "command"
        hint = did_you_mean(name, [*commands, "--help", "--version"])
        raise UserError(
            f"there is no {kind} {name!r}{hint or '; see `jaxfactory --help`'}"
        )
    return commands[name](rest)


def _version() -> str:
    try:
        return importlib.metadata.version("jaxfactory")
    except importlib.metadata.PackageNotFoundError:
        return "(not installed)"


def _train(args: list[str]) -> int:
    from jaxfactory import scenarios, sizing

    if sizing.wants_auto(args):
        args = _fill_in_sizes(args)
    options = parse_train(args)
    config = as_config(options)
    scenarios.find(config.env.scenario)  # Before JAX is loaded for nothing.
    run_dir = options.run or runs.new_run_dir(config.env.scenario)
    saved = runs.checkpoint_dirs(run_dir, "latest")
    if saved and int(saved[-1].name) >= config.total_frames:
        print(
            f"the run {run_dir} already has {int(saved[-1].name):,} frames; "
            "give a larger --total-frames to go on"
        )
        return 0
    _prepare_jax()
    from jaxfactory.train import train
    from jaxfactory.writers import TerminalWriter

    state = train(config, run_dir, writer=TerminalWriter(run_dir, config.total_frames))
    print(
        f"trained for {state.frames:,} frames; "
        f"see the score with: jaxfactory evaluate --run {run_dir}"
    )
    return 0


def _evaluate(args: list[str]) -> int:
    options = parse(EvaluateOptions, EvaluateOptions(), args, "evaluate")
    run = options.run or runs.find_newest_run()
    runs.load_config(run)
    _prepare_jax()
    from jaxfactory import evaluate

    evaluate.run(dataclasses.replace(options, run=run))
    return 0


def _scenarios(args: list[str]) -> int:
    parse(ScenariosOptions, ScenariosOptions(), args, "scenarios")
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from jaxfactory import scenarios

    table = Table(show_lines=True)
    table.add_column("scenario", no_wrap=True)
    for title in ("actions", "rewards and time-out", "files"):
        table.add_column(title, overflow="fold")
    for row in scenarios.table():
        rewards = f"{row.rewards}\ntime-out: {row.timeout}"
        cells = (f"{row.name}\n{row.state}", row.actions, rewards, row.files)
        table.add_row(*map(Text, cells))
    Console().print(table)
    return 0


def _fill_in_sizes(args: list[str]) -> list[str]:
    from jaxfactory import sizing

    _prepare_jax()
    import jax

    cores = len(os.sched_getaffinity(0))
    sizes = sizing.choose(cores, gpu=jax.default_backend() != "cpu")
    print(
        f"auto: {sizes.num_envs} environments, {sizes.num_workers} workers "
        f"({sizes.reason})"
    )
    return sizing.fill_in(args, sizes)


def _prepare_jax() -> None:
    from jaxfactory import backend

    backend.configure()


def parse_train(args: Sequence[str]) -> TrainOptions:
    """Parse the flags of ``train`` over the defaults of a preset or a stored run.

    Raises:
        UserError: If a flag or a value is wrong.
    """
    args = _unaliased(args)
    # These two decide the defaults of all others, so they are read first.
    check_flags(args, TrainOptions, "train")
    preset, run = _peek(args, "--preset"), _peek(args, "--run")
    if preset is not None and preset not in PRESETS:
        hint = did_you_mean(preset, PRESETS) or f"; there are {', '.join(PRESETS)}"
        raise UserError(f"there is no preset {preset!r}{hint}")
    base = PRESETS[preset or "default"]
    if run and runs.is_run(Path(run)):
        # A preset given for an existing run sets what it is about, nothing else.
        base = _overlay(runs.load_config(Path(run)), base)
    fields = {
        field.name: getattr(base, field.name) for field in dataclasses.fields(Config)
    }
    return parse(TrainOptions, TrainOptions(**fields), args, "train")


def as_config(options: TrainOptions) -> Config:
    """Return the settings without the flags that only the command line knows."""
    fields = dataclasses.fields(Config)
    return Config(**{field.name: getattr(options, field.name) for field in fields})


def parse(
    kind: type[Options], default: Options, args: Sequence[str], command: str
) -> Options:
    """Parse flags into a dataclass; every mistake is one sentence.

    Args:
        kind: The dataclass.
        default: Holds the defaults.
        args: The flags.
        command: Named in the help.

    Raises:
        UserError: If a flag or a value is wrong.
    """
    import tyro

    args = _unaliased(args)
    check_flags(args, kind, command)
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            return tyro.cli(
                kind,
                prog=f"jaxfactory {command}",
                args=list(args),
                default=default,
                config=(tyro.conf.OmitArgPrefixes,),
            )
    except SystemExit as stop:
        if not stop.code:
            raise  # After --help.
        raise UserError(_sentence(complaint.getvalue(), command)) from None


def check_flags(args: Sequence[str], kind: Any, command: str) -> None:
    """Refuse flags that the dataclass has not, naming the nearest one.

    Raises:
        UserError: If there is one.
    """
    flags = {"--help", "-h", *_flags(kind)}
    for arg in args:
        flag = arg.partition("=")[0]
        if flag.startswith("--") and flag.replace("_", "-") not in flags:
            help_hint = f"; see `jaxfactory {command} --help`"
            hint = did_you_mean(flag, flags) or help_hint
            raise UserError(f"{command} has no flag {flag!r}{hint}")


# Other names of flags; their help says so.
_ALIASES = {"--network": "--encoder"}


def _unaliased(args: Sequence[str]) -> list[str]:
    """Give every flag its first name."""
    parts = [arg.partition("=") for arg in args]
    return ["".join((_ALIASES.get(flag, flag), *rest)) for flag, *rest in parts]


def _flags(kind: Any) -> list[str]:
    flags = []
    hints = typing.get_type_hints(kind)
    for field in dataclasses.fields(kind):
        name = field.name.replace("_", "-")
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
    for theirs, ours in _PLAIN_WORDS:
        text = text.replace(theirs, ours)
    return text or f"the flags are wrong; see `jaxfactory {command} --help`"
