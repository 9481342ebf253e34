"""Checks which ``game_args`` of a .cfg file may reach the engine's command line.

Engine arguments can write files anywhere (``+logfile``, ``-config``, ``-record``,
``-savedir``), run the commands of a file (``+exec``), load further files (``-file``) or
open connections (``-host``, ``-join``). A .cfg file may come from someone else, so only
game rules and map view settings pass: console variables ``+sv_...`` and ``+am_...``
with a number.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from jaxfactory._util.errors import UserError


# (ASCII: otherwise the long s, U+017F, matches s.)
_VARIABLE = re.compile(r"\+(sv|am)_[a-z0-9_]{1,40}", re.IGNORECASE | re.ASCII)
_NUMBER = re.compile(r"[+-]?\d{1,9}(\.\d{1,9})?|true|false", re.IGNORECASE | re.ASCII)


def check(words: Sequence[str], cfg: Path) -> None:
    """Refuse arguments that can do more than change the rules of the game.

    Args:
        words: The ``game_args`` of the file.
        cfg: The file.

    Raises:
        UserError: If an argument is not accepted.

    Example:
        >>> check(["+sv_noautoaim", "1"], Path("a.cfg"))
        >>> check(["+logfile", "x"], Path("a.cfg"))
        Traceback (most recent call last):
        jaxfactory.UserError: a.cfg: its game_args hold '+logfile', which...
    """
    odd = unknown(words)
    if odd is not None:
        raise UserError(
            f"{cfg}: its game_args hold {odd[:80]!r}, which could make the engine "
            "write files or run commands; accepted are +sv_... and +am_..., each "
            "followed by a number; remove it, or if the file is yours give "
            "--allow-game-args"
        )


def unknown(words: Sequence[str]) -> str | None:
    """Return the first argument that is not accepted, or None."""
    for name, value in zip(words[::2], [*words[1::2], ""]):
        if not _VARIABLE.fullmatch(name):
            return name
        if not _NUMBER.fullmatch(value):
            return f"{name} {value}".strip()
    return None
