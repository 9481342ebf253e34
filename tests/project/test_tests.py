"""The tests themselves: where they are, what they share, and how large they are."""

import ast

import pytest
from places import PACKAGE, TESTS


FILES = sorted(TESTS.rglob("*.py"))
TEST_FILES = [path for path in FILES if path.name.startswith("test_")]
# Folders of tests beside those that have the name of a package.
OTHERS = {"csrc", "project"}


def package_of(path):
    """Return the folder of the package whose tests are in a file's folder."""
    parts = path.parent.relative_to(TESTS).parts
    return PACKAGE.joinpath(*("_util" if part == "util" else part for part in parts))


def test_every_file_is_looked_at():
    assert len(TEST_FILES) > 80
    assert {path.parent for path in FILES} >= {TESTS / "helpers", TESTS / "hub"}


@pytest.mark.parametrize("path", TEST_FILES, ids=lambda path: path.stem)
def test_a_file_lies_in_the_folder_of_a_package(path):
    assert path.parent != TESTS
    if path.parent.name not in OTHERS:
        assert package_of(path).is_dir(), f"there is no {package_of(path)}"


def test_every_package_has_tests():
    packages = {path.parent for path in PACKAGE.rglob("__init__.py")} - {PACKAGE}
    # Those of the maps are with the scenarios'.
    packages = {path for path in packages if path.name not in ("maps", "templates")}
    assert len(packages) >= 15
    for package in packages:
        parts = package.relative_to(PACKAGE).parts
        folder = TESTS.joinpath(
            *("util" if part == "_util" else part for part in parts)
        )
        assert list(folder.rglob("test_*.py")), f"{package.name} has no tests"


def test_names_of_files_are_unique():
    # The modules of tests/helpers are imported by name.
    names = [path.stem for path in FILES if path.name != "conftest.py"]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_file_is_small_and_imports_no_tests(path):
    text = path.read_text()
    assert text.count("\n") <= 500
    tree = ast.parse(text)
    assert ast.get_docstring(tree), f"{path.name} does not say what it tests"
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom | ast.Import):
            names = [alias.name for alias in node.names]
            if isinstance(node, ast.ImportFrom):
                names.append(node.module or "")
            assert not [name for name in names if name.startswith("test_")]
