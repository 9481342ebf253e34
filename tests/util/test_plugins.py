"""Classes and functions of the user's own are found, and what is wrong is said."""

import fractions
import re
import sys

import pytest

from jaxfactory._util import plugins
from jaxfactory._util.errors import UserCodeError, UserError


def test_a_module_s_name():
    assert plugins.load("fractions:Fraction", "--network") is fractions.Fraction
    assert plugins.name_of(fractions.Fraction) == "fractions:Fraction"
    assert plugins.load("fractions:Fraction.limit_denominator", "--callback")


def test_a_file_is_imported_once_and_named_by_its_path(tmp_path, monkeypatch):
    (tmp_path / "neighbor.py").write_text("NUMBER = 3\n")
    file = tmp_path / "own.py"
    file.write_text("import neighbor\nclass Own:\n    number = neighbor.NUMBER\n")
    monkeypatch.chdir(tmp_path)
    own = plugins.load("own.py:Own", "--network")
    assert own.number == 3
    assert plugins.name_of(own) == f"{file}:Own" == plugins.pinned("own.py:Own")
    monkeypatch.chdir("/")
    assert plugins.load(f"{file}:Own", "--network") is own


def test_a_module_in_the_current_directory(tmp_path, monkeypatch):
    (tmp_path / "folder_of_mine").mkdir()
    (tmp_path / "folder_of_mine" / "thing.py").write_text("def count():\n    pass\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    count = plugins.load("folder_of_mine.thing:count", "--callback")
    assert plugins.name_of(count) == "folder_of_mine.thing:count"
    assert sys.path[-1] == str(tmp_path)
    assert plugins.pinned("folder_of_mine.thing:count") == "folder_of_mine.thing:count"


@pytest.mark.parametrize(
    ("reference", "sentence"),
    [
        ("Fraction", "--network 'Fraction' must be package.module:Name or folder"),
        (":Fraction", "must be package.module:Name"),
        ("fractions:", "must be package.module:Name"),
        ("nowhere_at_all.x:Y", "there is no module 'nowhere_at_all' in /"),
        ("fractions.x:Y", "there is no module 'fractions.x'"),
        ("nowhere/at_all.py:Y", "there is no file nowhere/at_all.py"),
        ("fractions:Fracton", "has no 'Fracton'; did you mean 'Fraction'?"),
        ("a.py:f.<locals>.Y", "is defined inside a function"),
    ],
)
def test_what_is_not_there_is_a_sentence(reference, sentence):
    with pytest.raises(UserError, match=re.escape(sentence)) as caught:
        plugins.load(reference, "--network")
    assert not isinstance(caught.value, UserCodeError)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("import not_there_either\n", "No module named 'not_there_either'"),
        ("open('not_there.txt')\n", "FileNotFoundError"),
        ("def broken(:\n", "SyntaxError"),
        ("1 / 0\n", "ZeroDivisionError: division by zero"),
    ],
)
def test_what_a_file_raises_comes_with_its_traceback(tmp_path, source, sentence):
    file = tmp_path / "broken.py"
    file.write_text("x = 1\n" + source)
    # Also when it is tried again.
    for _ in range(2):
        with pytest.raises(UserCodeError, match=re.escape(sentence)) as caught:
            plugins.load(f"{file}:Own", "--network")
        trace = caught.value.trace()
        assert f'"{file}", line 2' in trace
        assert "plugins.py" not in trace


def test_what_a_function_made_has_a_name_that_says_so():
    class Inner:
        pass

    assert "<locals>.Inner" in plugins.name_of(Inner)
    with pytest.raises(UserError, match="is defined inside a function"):
        plugins.load(plugins.name_of(Inner), "--network")
