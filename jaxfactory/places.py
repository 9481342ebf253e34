"""Folders of the user's that outlast a program."""

import os
import tempfile
from pathlib import Path

from jaxfactory.errors import UserError


def cache() -> Path:
    """Return the folder for what can be made again; it may not exist yet."""
    root = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(root).absolute() / "jaxfactory"


def engine_folder() -> Path:
    """Return the folder that engines run in.

    An engine wants a folder ``_vizdoom`` where it runs, and ends if another one makes
    it at the same moment. As it writes nothing into it, all engines of a user share
    one, so that none is left over by a process that is killed.

    Raises:
        UserError: If no place for it can be written.
    """
    # Where there is no home, as for some services and containers.
    temporary = Path(tempfile.gettempdir()) / f"jaxfactory-engines-{os.getuid()}"
    for folder in (cache() / "engines", temporary):
        try:
            (folder / "_vizdoom").mkdir(mode=0o700, parents=True, exist_ok=True)
            # Engines look for maps there: in a shared place it must be nobody else's.
            if folder.stat().st_uid == os.getuid():
                return folder
        except OSError:
            continue
    raise UserError(
        f"engines need a folder of yours to run in, and neither {cache() / 'engines'} "
        f"nor {temporary} can be one; set XDG_CACHE_HOME to a folder that can be "
        "written"
    )
