"""Folders that outlast a program: found, made, and made elsewhere if need be."""

import pytest

from jaxfactory import places
from jaxfactory.errors import UserError


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(places.tempfile, "tempdir", str(tmp_path / "tmp"))
    return tmp_path


def test_engines_run_in_the_cache(home, monkeypatch):
    folder = places.engine_folder()
    assert folder == home / "home" / ".cache" / "jaxfactory" / "engines"
    assert (folder / "_vizdoom").is_dir()
    assert places.engine_folder() == folder
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / "cache"))
    assert places.engine_folder() == home / "cache" / "jaxfactory" / "engines"


def test_without_a_home_they_run_in_the_temporary_folder(home):
    (home / "home").touch()
    folder = places.engine_folder()
    assert folder.parent == home / "tmp"
    assert (folder / "_vizdoom").is_dir()


def test_in_a_folder_of_somebody_elses_they_do_not_run(home, monkeypatch):
    monkeypatch.setattr(places.os, "getuid", lambda: 12345)
    with pytest.raises(UserError, match="a folder of yours"):
        places.engine_folder()


def test_without_any_place_it_is_said(home):
    (home / "home").touch()
    (home / "tmp").touch()
    with pytest.raises(UserError, match="XDG_CACHE_HOME"):
        places.engine_folder()
