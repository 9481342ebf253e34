"""Parse command-line flags into dataclasses. Does not start JAX."""

import contextlib
import dataclasses
import functools
import io
import re
import shutil
import sys
import textwrap
import typing
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from jaxfactory._util.errors import UserError, did_you_mean


if TYPE_CHECKING:
    from tyro.constructors import StructConstructorSpec, StructTypeInfo

Options = TypeVar("Options")

# Colors and weights in a terminal.
_STYLE = re.compile(r"\x1b\[[0-9;]*m")
# Other names of flags.
_ALIASES = {"--network": "--encoder", "--env": "--scenario"}
# Arguments that are positional in other commands and need a flag here.
_NAMED_WITH = {
    "train": ("a scenario", "--scenario"),
    "evaluate": ("a run", "--run"),
}


def parse(
    kind: type[Options], default: Options | None, args: Sequence[str], command: str
) -> Options:
    """Parse flags into a dataclass.

    Args:
        kind: The dataclass.
        default: Holds the default values. If None, the dataclass's own defaults apply
            and its fields without one are positional.
        args: The flags.
        command: The command's name, for the help text and for errors.

    Raises:
        UserError: If a flag or a value is wrong.
    """
    import tyro
    from tyro.constructors import ConstructorRegistry

    args = unaliased(args)
    check_flags(args, kind, command)
    help_text, box = _Captured(), io.StringIO()
    defaults = {} if default is None else {"default": default}
    registry = ConstructorRegistry()
    registry.struct_rule(_fields)
    try:
        with (
            contextlib.redirect_stdout(help_text),
            contextlib.redirect_stderr(box),
            registry,
        ):
            return tyro.cli(
                kind,
                prog=f"jaxfactory {command}",
                args=list(args),
                config=(tyro.conf.OmitArgPrefixes, tyro.conf.PositionalRequiredArgs),
                **defaults,
            )
    except SystemExit as stop:
        if not stop.code:
            sys.stdout.write(_wrapped(help_text.getvalue()))
            raise
        raise UserError(_message(box.getvalue(), command)) from None


def _fields(info: "StructTypeInfo") -> "StructConstructorSpec | None":
    """Describe a dataclass's fields to tyro: help texts and aliases.

    tyro treats an indented line of a field's docstring as a new paragraph, so its own
    help would break lines in mid-sentence.
    """
    import tyro
    from tyro.constructors import StructConstructorSpec, StructFieldSpec

    kind = info.type
    if not dataclasses.is_dataclass(kind):
        return None
    hints = typing.get_type_hints(kind, include_extras=True)
    fields = []
    for field in dataclasses.fields(kind):
        if field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        elif field.default is not dataclasses.MISSING:
            default = field.default
        else:
            default = tyro.MISSING
        flag = f"--{field.name.replace('_', '-')}"
        aliases = [alias for alias, name in _ALIASES.items() if name == flag]
        fields.append(
            StructFieldSpec(
                name=field.name,
                type=Annotated[hints[field.name], tyro.conf.arg(aliases=aliases)],
                default=getattr(info.default, field.name, default),
                helptext=functools.partial(_help, kind, field.name),
            )
        )
    return StructConstructorSpec(instantiate=kind, fields=tuple(fields))


def _help(kind: type, name: str) -> str | None:
    """Return a field's docstring on one line; tyro uses its type's if it has none."""
    return " ".join(_docstrings(kind).get(name, "").split()) or None


@functools.cache
def _docstrings(kind: type) -> dict[str, str]:
    import docstring_parser

    return {
        param.arg_name: param.description or ""
        for base in reversed(kind.__mro__[:-1])
        for param in docstring_parser.parse_from_object(base).params
    }


class _Captured(io.StringIO):
    """Captures a help text, in the colors and borders that standard output supports."""

    def __init__(self) -> None:
        super().__init__()
        self._stdout = sys.stdout

    @property
    def encoding(self) -> str | None:
        """The encoding of standard output."""
        return self._stdout.encoding

    def isatty(self) -> bool:
        """Whether standard output is a terminal."""
        return self._stdout.isatty()


def _wrapped(text: str) -> str:
    """Wrap the lines outside of boxes, which tyro does not fit to the terminal."""
    width = max(shutil.get_terminal_size().columns, 40)  # Boxes are at least this wide.
    lines = []
    for line in text.splitlines():
        plain = _STYLE.sub("", line)
        lines.append(textwrap.fill(plain, width) if len(plain) > width else line)
    return "".join(f"{line}\n" for line in lines)


def check_flags(args: Sequence[str], kind: Any, command: str) -> None:
    """Refuse flags that the dataclass does not have.

    Raises:
        UserError: If there is one (the message names the nearest flag), or the first
            argument lacks its flag.
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


def unaliased(args: Sequence[str]) -> list[str]:
    """Replace every alias of a flag by the flag's own name."""
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


# Phrases of Python and tyro, and their plain replacements.
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


def _message(box: str, command: str) -> str:
    """Extract the error message from the box that tyro draws around it."""
    lines = [line.strip().strip("│").strip() for line in box.splitlines()]
    lines = [line for line in lines if line]
    # The title is part of the frame or, on an ASCII terminal, underlined.
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
        # Errors of a dataclass name their flags; those of a single value do not.
        text = f"{flag}: {rest}" if flag.startswith("--") else rest
    if separator and place.startswith("Missing from"):
        missing = [part.split()[0] for part in rest.split("(required)") if part.strip()]
        names = " and ".join(missing)
        return f"{command} lacks {names}; see `jaxfactory {command} --help`"
    for theirs, ours in _PLAIN_WORDS:
        text = text.replace(theirs, ours)
    # For an optional value, keep only the reason why its type rejects it.
    text = re.sub(r"no type matching .* - <class '\w+'>: ", "", text)
    return text or f"the flags are wrong; see `jaxfactory {command} --help`"
