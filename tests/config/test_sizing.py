"""What `auto` stands for, and where it may stand."""

import pytest

from jaxfactory.config import sizing
from jaxfactory.training.options import parse_train


def test_more_cores_get_more_environments():
    assert sizing.choose(2, gpu=False)[:2] == (64, 2)
    assert sizing.choose(16, gpu=False)[:2] == (512, 16)
    # One core is left to the threads that feed the GPU.
    assert sizing.choose(16, gpu=True)[:2] == (960, 15)
    assert sizing.choose(2, gpu=True)[:2] == (128, 2)
    assert "2 cores without a GPU" in sizing.choose(2, gpu=False).reason


@pytest.mark.parametrize(
    "args",
    [
        ["--num-envs", "auto", "--num-workers", "auto"],
        ["--num-envs=auto", "--num_workers=auto"],
    ],
)
def test_auto_is_replaced(args):
    filled = sizing.fill_in([*args, "--seed", "1"], sizing.Sizes(96, 3, ""))
    options = parse_train(filled)
    assert options.env.num_envs == 96
    assert options.env.num_workers == 3


def test_only_where_it_is_asked_for():
    assert sizing.wants_auto(["--num-envs", "auto"])
    assert not sizing.wants_auto(["--num-envs", "8", "--scenario", "auto"])
    assert not sizing.wants_auto(["--num-envs"])
    unchanged = ["--num-envs", "8", "--num-workers"]
    assert sizing.fill_in(unchanged, sizing.Sizes(1, 1, "")) == unchanged
