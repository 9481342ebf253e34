"""Flags into settings: every mistake is one error message; JAX is not started."""

import contextlib
import dataclasses
import io
import re
import typing
from collections.abc import Sequence
from typing import Any, TypeVar

from jaxfactory._util.errors import UserError, did_you_mean


Options = TypeVar("Options")


# What other commands take as their first word, these take after a flag.
_NAMED_WITH = {
    "train": ("a scenario", "--scenario"),
    "evaluate": ("a run", "--run"),
}


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
    if args and not args[0].startswith("-") and command in _NAMED_WITH:
        what, flag = _NAMED_WITH[command]
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
