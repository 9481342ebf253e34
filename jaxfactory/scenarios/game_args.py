"""Which words of a .cfg file's ``game_args`` may reach the engine's command line.

The engine takes words from there that write files anywhere (``+logfile``, ``-config``,
``-record``, ``-savedir``), run the commands of a file (``+exec``), load further files
(``-file``) or open connections (``-host``, ``-join``). A .cfg file often comes from
somebody else, so only settings of the game's rules and of the map view pass: console
variables ``+sv_...`` and ``+am_...``, with a number.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from jaxfactory._util.errors import UserError


# (Without ASCII the long s of old prints would be an s.)
_VARIABLE = re.compile(r"\+(sv|am)_[a-z0-9_]{1,40}", re.IGNORECASE | re.ASCII)
_NUMBER = re.compile(r"[+-]?\d{1,9}(\.\d{1,9})?|true|false", re.IGNORECASE | re.ASCII)


def check(words: Sequence[str], cfg: Path) -> None:
    """Refuse words that could do more than change the game's rules.

    Args:
        words: What the file says under ``game_args``.
        cfg: The file.

    Raises:
        UserError: If there is such a word.

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
    """Return the first word that is not accepted, None where all are."""
    for name, value in zip(words[::2], [*words[1::2], ""]):
        if not _VARIABLE.fullmatch(name):
            return name
        if not _NUMBER.fullmatch(value):
            return f"{name} {value}".strip()
    return None
