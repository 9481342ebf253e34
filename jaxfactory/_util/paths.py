"""Folders of the user's that outlast a program."""

import grp
import os
import pwd
import stat
import tempfile
from pathlib import Path

from jaxfactory._util.errors import UserError


_MOST_LINKS = 40


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
        UserError: If no place for it can be written, or others could change it.
    """
    # Where there is no home, as for some services and containers.
    temporary = Path(tempfile.gettempdir()) / f"jaxfactory-engines-{os.getuid()}"
    objections = []
    for folder in (cache() / "engines", temporary):
        try:
            # Engines look for maps and commands there: they must be nobody else's.
            objection = make_private(folder / "_vizdoom")
        except OSError as error:
            objection = f"{folder} cannot be made ({error.strerror})"
        if not objection:
            return folder
        objections.append(objection)
    raise UserError(
        f"engines need a folder of yours to run in, but {objections[0]}, and "
        f"{objections[1]}; set XDG_CACHE_HOME to a folder that only you can write"
    )


def make_private(folder: Path) -> str:
    """Make a folder, and those above it that are missing, for this user alone.

    Args:
        folder: Absolute; those that exist already are checked.

    Returns:
        What others could do to it, as part of a sentence; empty if nothing.

    Raises:
        OSError: If it cannot be made.
    """
    at = Path(folder.anchor)
    # Who has the root can do anything; in some containers that is not user 0.
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
                return f"{at} is one of too many links"
            # Whose links are followed has been checked; so is each folder they name.
            target = os.readlink(at)
            parts = [*Path(target).parts, *parts]
            at = at.parent
            if os.path.isabs(target):
                at, parts = Path("/"), parts[1:]
            continue
        if not stat.S_ISDIR(found.st_mode):
            return f"{at} is no folder"
        objection = _writable_by_others(at, found, last=not parts)
        if objection:
            return objection
    return ""


def _writable_by_others(path: Path, found: os.stat_result, *, last: bool) -> str:
    if last and found.st_uid != os.getuid():
        return f"{path} belongs to {_user(found.st_uid)}"
    # In a sticky folder nobody can replace what another user has made.
    if found.st_mode & stat.S_ISVTX and not last:
        return ""
    if found.st_mode & stat.S_IWOTH:
        return f"{path} can be written by everybody (chmod o-w {path})"
    if found.st_mode & stat.S_IWGRP and not _own_group(found.st_gid):
        return f"{path} can be written by its group (chmod g-w {path})"
    return ""


def _own_group(gid: int) -> bool:
    """Whether a group has nobody in it but this user, as on many systems by default."""
    if gid == 0 and os.getuid() == 0:
        return True  # who is in root's group is trusted by root
    try:
        user = pwd.getpwuid(os.getuid())
        group = grp.getgrgid(gid)
    except KeyError:
        return False
    # Members are listed only where it is not their first group. Whether it is anybody
    # else's cannot be asked, but a group made for one user has the user's name.
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
