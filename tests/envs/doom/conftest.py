"""Fixtures of the tests of engines."""

import os

import pytest
from engine_processes import children, names_of


@pytest.fixture
def nothing_is_left():
    """Fail if a test leaves a process, or a name in /dev/shm."""
    before = children()
    yield
    assert children() <= before
    assert not names_of(os.getpid())
