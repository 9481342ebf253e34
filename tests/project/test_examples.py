"""Every script under examples/ runs, in seconds, and says what it should."""

import os
import re
import subprocess
import sys

import pytest
from places import EXAMPLES, TESTS


pytestmark = pytest.mark.vizdoom


# In this order: the first one trains what the second plays.
SAYS = {
    "train_from_python.py": r"(?s)frames 2,048/2,048 \(100%\).*"
    r"trained for 2,048 frames, 16 updates\nreturn \S+ \+- \S+ over 4 episodes\n"
    r"the agent chooses from ",
    "play_an_agent.py": r"(?s)step  0: \[.*step 40: \[",
    "own_network.py": r"trained for 1,024 frames.*\(192, 32\)\nreturn \S+",
    "callbacks.py": r"stopped after 640 frames\n(own/action_\d \d\.\d\d\n)+",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("examples")


def test_every_example_is_tested():
    tests = [path.read_text() for path in TESTS.rglob("test_*.py")]
    for path in EXAMPLES.glob("*.py"):
        assert any(path.stem in text for text in tests), f"no test runs {path.name}"


@pytest.mark.parametrize(
    "name",
    [
        # test_api trains custom networks too.
        pytest.param(name, marks=[pytest.mark.slow] if name == "own_network.py" else [])
        for name in SAYS
    ],
)
def test_it_runs(name, folder):
    result = subprocess.run(
        [sys.executable, EXAMPLES / name],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    assert re.search(SAYS[name], result.stdout), result.stdout
