"""The entry point of the ``jaxfactory`` command: dispatch, and errors as messages.

Commands are imported when they run, and import JAX only when they need it, so that
help, the version and error messages appear at once.
"""

# ruff: noqa: T201 - the command line prints.

import contextlib
import os
import shutil
import signal
import sys
import textwrap
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, TextIO

import jaxfactory
from jaxfactory._util.errors import (
    UserCodeError,
    UserError,
    did_you_mean,
    disk_message,
)
from jaxfactory._util.plain_files import printable
from jaxfactory._util.signals import raise_signals


# Each is a function of `commands`, with "_" for "-".
COMMANDS = {
    "train": "train an agent, or resume a run",
    "launch": "start several processes that train together on this machine",
    "evaluate": "run evaluation episodes with a trained agent and print its score",
    "sweep": "train one run for each combination of settings in a file",
    "tournament": "run matches between agents and rate them",
    "report": "write an HTML report about a run, or one that compares runs",
    "push": "publish a run's agent on the Hugging Face Hub",
    "pull": "download an agent from the Hugging Face Hub into a run directory",
    "scenarios": "list the scenarios, or describe some of them",
    "import-sample-factory": "convert an agent trained by Sample Factory into a run",
}
_NO_MEMORY = (
    "there is not enough memory; use fewer --num-envs or --num-steps, or raise the "
    "limit (ulimit -v, or the container's)"
)
_NO_THREADS = (
    "the system allows no more threads; use fewer --num-workers, or raise the limit "
    "(ulimit -u, or the container's limit of pids)"
)
_INDENT = 14
_OPTIONS = {
    "-h, --help": "show this help, or a command's: jaxfactory train --help",
    "--version": "show the version",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Args:
        argv: Arguments without the program's name; by default, the process's own.

    Returns:
        0 on success, 1 if an engine failed, 2 after a `UserError`, or 128 plus the
        number of the signal that stopped the command.
    """
    args = list(sys.argv[1:] if argv is None else argv)
    try:
        with raise_signals(), _plain_warnings():
            return _dispatch(args)
    except UserError as error:
        _say(printable(str(error)))
        if isinstance(error, UserCodeError):
            with contextlib.suppress(OSError):
                print(error.trace(), end="", file=sys.stderr)
        return error.code
    except KeyboardInterrupt as error:
        return _interrupted(error)
    except BrokenPipeError:  # `jaxfactory scenarios | head`: leave quietly.
        _forget(sys.stdout)
        return 1
    except OSError as error:
        message = disk_message(error)
        if not message:
            raise
        _say(printable(message))
        return 2
    except MemoryError:
        _say(_NO_MEMORY)
        return 1
    except (RuntimeError, ValueError) as error:
        message = _known(error)
        if not message:
            raise
        _say(message)
        return 1


def _say(message: str) -> None:
    """Print an error message, unless the terminal is gone."""
    with contextlib.suppress(OSError):
        print(f"jaxfactory: {message}", file=sys.stderr, flush=True)


def _interrupted(error: KeyboardInterrupt) -> int:
    """Print how to resume, if there is a run; return the exit code."""
    if str(error):  # A second Ctrl-C has no message.
        _say(str(error))
    # Ctrl-C ends what reads the output, too; closing the terminal ends both streams.
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            _forget(stream)
    return 128 + getattr(error, "signum", signal.SIGINT)


def _forget(stream: TextIO) -> None:
    """Keep Python from flushing into a closed pipe or terminal when it exits."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _known(error: Exception) -> str:
    """Return the message for what a machine lacks or an engine's failure, else ""."""
    message = str(error)
    if message == "can't start new thread":
        return _NO_THREADS
    if message.startswith("RESOURCE_EXHAUSTED"):  # XLA's
        return _NO_MEMORY
    # Does not import the pool to find out.
    core = sys.modules.get("jaxfactory._core")
    return message if core and isinstance(error, core.EngineError) else ""


@contextlib.contextmanager
def _plain_warnings() -> Iterator[None]:
    """Show warnings as messages, without the source line that raised them."""

    def text(message: Warning | str, category: type[Warning], *place: Any) -> str:
        if issubclass(category, UserWarning):
            return f"jaxfactory: {printable(str(message))}\n"
        return before(message, category, *place)

    before = warnings.formatwarning
    warnings.formatwarning = text
    try:
        yield
    finally:
        warnings.formatwarning = before


def _dispatch(args: list[str]) -> int:
    if not args or args[0] in ("-h", "--help"):
        print(_help(), end="")
        return 0
    if args[0] == "--version":
        print(f"jaxfactory {jaxfactory.__version__}")
        return 0
    name, rest = args[0], args[1:]
    if name not in COMMANDS:
        kind = "option" if name.startswith("-") else "command"
        hint = did_you_mean(name, [*COMMANDS, "--help", "--version"])
        raise UserError(
            f"there is no {kind} {name!r}{hint or '; see `jaxfactory --help`'}"
        )
    from jaxfactory.cli import commands

    return getattr(commands, name.replace("-", "_"))(rest)


def _help() -> str:
    """Return the help text, wrapped to the terminal's width."""
    width = max(shutil.get_terminal_size().columns, 40)
    parts = ["usage: jaxfactory COMMAND [OPTIONS]\n\n"]
    parts.append("Train, evaluate and record agents in ViZDoom environments.\n")
    for title, rows in (("commands", COMMANDS), ("options", _OPTIONS)):
        parts.append(f"\n{title}:\n")
        for name, text in rows.items():
            lines = textwrap.wrap(text, width - _INDENT)
            # A long name stands on a line of its own.
            first = f"  {name}".ljust(_INDENT)
            parts += [first + lines.pop(0)] if len(first) == _INDENT else [first]
            parts += [f"\n{'':{_INDENT}}{line}" for line in lines] + ["\n"]
    return "".join(parts)
