"""Folders that outlast a program: found, made, and made elsewhere if need be."""

import os
import stat
from types import SimpleNamespace

import pytest

from jaxfactory._util import paths
from jaxfactory._util.errors import UserError


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(paths.tempfile, "tempdir", str(tmp_path / "tmp"))
    return tmp_path


def test_engines_run_in_the_cache(home, monkeypatch):
    folder = paths.engine_folder()
    assert folder == home / "home" / ".cache" / "jaxfactory" / "engines"
    assert (folder / "_vizdoom").is_dir()
    assert paths.engine_folder() == folder
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / "cache"))
    assert paths.engine_folder() == home / "cache" / "jaxfactory" / "engines"


def test_without_a_home_they_run_in_the_temporary_folder(home):
    (home / "home").touch()
    folder = paths.engine_folder()
    assert folder.parent == home / "tmp"
    assert (folder / "_vizdoom").is_dir()


def without_temporary(home) -> None:
    """Leave no other place than the cache, so that what is wrong with it is said."""
    (home / "tmp").touch()


def test_what_is_made_is_for_this_user_alone(home):
    before = os.umask(0)
    try:
        folder = paths.engine_folder()
    finally:
        os.umask(before)
    made = [folder / "_vizdoom", folder, *list(folder.parents)[:3]]
    assert made[-1] == home / "home"
    assert {stat.S_IMODE(path.lstat().st_mode) for path in made} == {0o700}


def test_in_a_folder_of_somebody_elses_they_do_not_run(home, monkeypatch):
    monkeypatch.setattr(paths.os, "getuid", lambda: 12345)
    with pytest.raises(UserError, match="a private working directory"):
        paths.engine_folder()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can make a stranger's files")
@pytest.mark.parametrize("which", [".cache", "jaxfactory", "engines", "_vizdoom"])
def test_a_stranger_s_folder_on_the_way(home, monkeypatch, which):
    folder = paths.engine_folder() / "_vizdoom"
    theirs = next(p for p in (folder, *folder.parents) if p.name == which)
    os.chown(theirs, 65534, 65534)
    assert paths.engine_folder().parent == home / "tmp"
    monkeypatch.setattr(paths.tempfile, "tempdir", str(home / "file"))
    (home / "file").touch()
    with pytest.raises(UserError, match=f"{which} belongs to the user"):
        paths.engine_folder()


@pytest.mark.parametrize("mode", [0o777, 0o702])
@pytest.mark.parametrize("which", [".cache", "jaxfactory", "engines", "_vizdoom"])
def test_a_folder_on_the_way_that_everybody_writes(home, which, mode):
    without_temporary(home)
    folder = paths.engine_folder() / "_vizdoom"
    changed = next(p for p in (folder, *folder.parents) if p.name == which)
    changed.chmod(mode)
    with pytest.raises(UserError, match="is writable by everyone"):
        paths.engine_folder()
    changed.chmod(0o755)
    assert paths.engine_folder() / "_vizdoom" == folder


def test_a_folder_on_the_way_that_a_group_writes(home, monkeypatch):
    without_temporary(home)
    folder = paths.engine_folder()
    folder.parent.chmod(0o770)
    paths.engine_folder()  # root's group, or the user's own
    monkeypatch.setattr(paths, "_own_group", lambda gid: False)
    with pytest.raises(UserError, match="is writable by its group"):
        paths.engine_folder()
    # In a sticky folder nobody replaces what somebody else has made.
    folder.parent.chmod(0o1777)
    assert paths.engine_folder() == folder


@pytest.mark.parametrize(
    ("uid", "gid", "name", "members", "own"),
    [
        (0, 0, "root", ["bin"], True),
        (5, 0, "root", [], False),
        (5, 7, "me", [], True),
        (5, 7, "me", ["me"], True),
        (5, 7, "me", ["you"], False),
        # As "users" on many systems: everybody's first group, with no members listed.
        (5, 7, "users", [], False),
        (5, 8, "me", [], False),
        (5, 9, "", [], False),
    ],
)
def test_a_group_of_one_s_own(monkeypatch, uid, gid, name, members, own):
    group = SimpleNamespace(gr_name=name, gr_mem=members)
    user = SimpleNamespace(pw_name="me", pw_gid=7)
    monkeypatch.setattr(paths.os, "getuid", lambda: uid)
    monkeypatch.setattr(paths.pwd, "getpwuid", lambda uid: user)
    groups = {0: group, 7: group, 8: group}
    monkeypatch.setattr(paths.grp, "getgrgid", groups.__getitem__)
    assert paths._own_group(gid) == own


def test_links_of_the_user_s_are_followed_and_strangers_are_not(home):
    (home / "large" / "cache").mkdir(parents=True)
    (home / "home").mkdir()
    (home / "home" / ".cache").symlink_to("../large/cache")
    folder = paths.engine_folder()
    assert (home / "large" / "cache" / "jaxfactory" / "engines" / "_vizdoom").is_dir()
    (home / "large").chmod(0o777)  # where it leads, others could swap folders
    assert paths.engine_folder().parent == home / "tmp"
    (home / "large").chmod(0o755)
    assert paths.engine_folder() == folder
    if os.getuid() == 0:
        os.chown(home / "home" / ".cache", 65534, 65534, follow_symlinks=False)
        assert paths.engine_folder().parent == home / "tmp"


@pytest.mark.skipif(os.getuid() != 0, reason="only root can make a stranger's files")
def test_a_link_planted_in_the_temporary_folder(home):
    (home / "home").touch()
    (home / "tmp").mkdir()
    (home / "tmp").chmod(0o1777)
    (home / "victim").mkdir(mode=0o700)
    link = home / "tmp" / f"jaxfactory-engines-{os.getuid()}"
    link.symlink_to(home / "victim")
    os.chown(link, 65534, 65534, follow_symlinks=False)
    with pytest.raises(UserError, match=f"{link.name} belongs to the user"):
        paths.engine_folder()
    assert not list((home / "victim").iterdir())


def test_links_in_a_circle(home):
    without_temporary(home)
    (home / "home").symlink_to("home")
    with pytest.raises(UserError, match="too many symbolic links"):
        paths.engine_folder()


def test_without_any_place_it_is_said(home):
    (home / "home").touch()
    (home / "tmp").touch()
    with pytest.raises(UserError, match="XDG_CACHE_HOME"):
        paths.engine_folder()
