"""Another trainer's PPO on the vector environment, where PyTorch is installed."""

import importlib.util
import subprocess
import sys

import pytest
from places import EXAMPLES


@pytest.mark.vizdoom
@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("torch") is None, reason="PyTorch is not installed"
)
def test_pytorchs_ppo_trains_on_the_vector_environment(tmp_path):
    done = subprocess.run(
        [
            sys.executable, EXAMPLES / "ppo_torch.py", "--num-envs", "8",
            "--num-steps", "64", "--total-steps", "2048",
        ],
        cwd=tmp_path, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["512", "1024", "1536", "2048"]
    # An episode of "basic" takes at most 75 decisions.
    assert "return nan" not in lines[-1]
