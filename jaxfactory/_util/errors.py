"""Errors that users can fix, each reported as one message without a stack trace."""

import difflib
import errno
import importlib.util
from collections.abc import Iterable
from pathlib import Path


class UserError(ValueError):
    """An error that the user can fix; the message says what is wrong and the remedy."""

    # The public name, in tracebacks too.
    __module__ = "jaxfactory"
    # Of the command.
    code = 2


class UserCodeError(UserError):
    """An error raised by the user's own code (``__cause__``), such as a callback."""

    __module__ = "jaxfactory"

    def trace(self) -> str:
        """Return the traceback of ``__cause__``, starting at the user's code."""
        import traceback

        if self.__cause__ is None:
            return ""
        summary = traceback.TracebackException.from_exception(self.__cause__)
        library = [_is_library(Path(frame.filename)) for frame in summary.stack]
        # Keep the frames of libraries that the user's code called: they may explain the
        # error. A syntax error has no frame of the user's, but says where it is.
        unparsed = len(library) if isinstance(self.__cause__, SyntaxError) else 0
        first = library.index(False) if False in library else unparsed
        summary.stack = traceback.StackSummary.from_list(list(summary.stack)[first:])
        return "".join(summary.format(chain=False))


def _is_library(file: Path) -> bool:
    ours, python = Path(__file__).parents[1], Path(importlib.util.__file__).parents[1]
    if str(file).startswith("<frozen") or "site-packages" in file.parts:
        return True
    return file.is_relative_to(ours) or file.is_relative_to(python)


# Problems of the user's disk or files, not of the program.
_DISK = (
    errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EISDIR,
    errno.ENOTDIR, errno.EEXIST, errno.ENOTEMPTY, errno.ENAMETOOLONG,
)  # fmt: skip


def disk_message(error: OSError) -> str:
    """Return the error message for an unreadable or unwritable file, else ""."""
    if error.errno not in _DISK:
        return ""
    place = error.filename2 or error.filename or "a file"
    return (
        f"{place} cannot be read or written ({error.strerror}); free disk space, "
        "change the permissions, or use another path"
    )


def require(module: str, *, extra: str, what: str) -> None:
    """Check that an optional package is installed.

    Args:
        module: The module to import, not yet imported here.
        extra: The extra of jaxfactory that installs it.
        what: The feature that needs it, for the message: ``"--wandb"``.

    Raises:
        UserError: If it is not installed.
    """
    try:
        found = importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # Its parent package is missing.
        found = False
    if not found:
        raise UserError(
            f"{what} needs {module.partition('.')[0]}, which is not installed; "
            f"install it with: pip install 'jaxfactory[{extra}]'"
        )


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """Return ``"; did you mean 'X'?"`` for the nearest choice, or ``""``.

    Args:
        word: The user's input.
        choices: Valid inputs.
    """
    nearest = difflib.get_close_matches(word, list(choices), n=1, cutoff=0.5)
    return f"; did you mean {nearest[0]!r}?" if nearest else ""
