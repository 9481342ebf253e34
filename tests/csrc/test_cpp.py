"""The C++ tests, built into build/cpp-tests, which is kept."""

import pytest
from cpp_build import ROOT, TESTS, build, run_test


pytestmark = pytest.mark.vizdoom


@pytest.fixture(scope="module")
def built():
    folder = ROOT / "build" / "cpp-tests"
    build(folder)
    return folder


@pytest.mark.parametrize("name", TESTS)
def test_cpp(built, name):
    run_test(built, name)
