"""Per-user folders that persist between runs of the program."""

import grp
import os
import pwd
import stat
import tempfile
from pathlib import Path

from jaxfactory._util.errors import UserError


_MOST_LINKS = 40


def cache() -> Path:
    """Return the cache folder; it may not exist yet."""
    root = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(root).absolute() / "jaxfactory"


def engine_folder() -> Path:
    """Return the working directory of the engines.

    An engine creates a folder ``_vizdoom`` in its working directory, and exits if
    another engine creates it at the same moment. It writes nothing into the folder, so
    all engines of a user share one, and a killed process leaves none behind.

    Raises:
        UserError: If no candidate is writable and safe from other users.
    """
    # For services and containers without a home directory.
    temporary = Path(tempfile.gettempdir()) / f"jaxfactory-engines-{os.getuid()}"
    objections = []
    for folder in (cache() / "engines", temporary):
        try:
            # Engines look for maps and commands there, so no other user may add any.
            objection = make_private(folder / "_vizdoom")
        except OSError as error:
            objection = f"{folder} cannot be created ({error.strerror})"
        if not objection:
            return folder
        objections.append(objection)
    raise UserError(
        f"engines need a private working directory, but {objections[0]}, and "
        f"{objections[1]}; set XDG_CACHE_HOME to a folder that only you can write to"
    )


def make_private(folder: Path) -> str:
    """Create a folder and its missing parents, accessible to this user only.

    Args:
        folder: Absolute path. Folders that exist already are checked.

    Returns:
        How another user could change it, as a clause for a message; empty if none can.

    Raises:
        OSError: If it cannot be created.
    """
    at = Path(folder.anchor)
    # The owner of / can do anything; in some containers, that is not user 0.
    trusted = (0, os.getuid(), at.lstat().st_uid)
    parts = list(folder.parts[1:])
    links = 0
    while parts:
        at = at / parts.pop(0)
        if not os.path.lexists(at):
            at.mkdir(mode=0o700, exist_ok=True)
        found = at.lstat()
        if found.st_uid not in trusted:
            return f"{at} belongs to {_user(found.st_uid)}"
        if stat.S_ISLNK(found.st_mode):
            links += 1
            if links > _MOST_LINKS:
                return f"{at} is part of a chain of too many symbolic links"
            # The owner of the link is trusted; check each folder of its target too.
            target = os.readlink(at)
            parts = [*Path(target).parts, *parts]
            at = at.parent
            if os.path.isabs(target):
                at, parts = Path("/"), parts[1:]
            continue
        if not stat.S_ISDIR(found.st_mode):
            return f"{at} is not a folder"
        objection = _writable_by_others(at, found, last=not parts)
        if objection:
            return objection
    return ""


def _writable_by_others(path: Path, found: os.stat_result, *, last: bool) -> str:
    if last and found.st_uid != os.getuid():
        return f"{path} belongs to {_user(found.st_uid)}"
    # In a sticky folder, users cannot replace each other's files.
    if found.st_mode & stat.S_ISVTX and not last:
        return ""
    if found.st_mode & stat.S_IWOTH:
        return f"{path} is writable by everyone (chmod o-w {path})"
    if found.st_mode & stat.S_IWGRP and not _own_group(found.st_gid):
        return f"{path} is writable by its group (chmod g-w {path})"
    return ""


def _own_group(gid: int) -> bool:
    """Whether this user is the only member of a group, the default on many systems."""
    if gid == 0 and os.getuid() == 0:
        return True  # Root trusts the members of its group.
    try:
        user = pwd.getpwuid(os.getuid())
        group = grp.getgrgid(gid)
    except KeyError:
        return False
    # gr_mem omits users whose primary group this is, and there is no way to list them.
    # But a group that was created for one user has that user's name.
    return (
        gid == user.pw_gid
        and group.gr_name == user.pw_name
        and set(group.gr_mem) <= {user.pw_name}
    )


def _user(uid: int) -> str:
    try:
        return f"the user {pwd.getpwuid(uid).pw_name}"
    except KeyError:
        return f"the user {uid}"
