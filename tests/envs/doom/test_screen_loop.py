"""The loop put into the engine's memory computes what the engine's own does."""

import os
import platform
import shutil
from pathlib import Path

import numpy as np
import pytest

from jaxfactory import _core
from jaxfactory.config.env import EnvConfig
from jaxfactory.envs.doom.pool import EnvPool
from jaxfactory.scenarios.maps import wad_files


ENGINE = wad_files.vizdoom_folder() / "vizdoom"
known = pytest.mark.skipif(
    platform.machine() != "x86_64", reason="the loop is x86-64 machine code"
)


def play(config, decisions=60):
    """Everything that is seen and paid, and whether the engines were changed."""
    seen = []
    with EnvPool(config, seed=5) as pool:
        rng = np.random.default_rng(0)
        seen.append(pool.reset().obs.copy())
        tuned = pool.tuned
        heads = pool.spec.action.heads
        for _ in range(decisions):
            actions = rng.integers(0, heads, (config.num_envs, len(heads)))
            step = pool.step(actions.astype(np.int32))
            seen += [step.obs.copy(), step.reward.copy(), step.is_first.copy()]
    return seen, tuned


def config(scenario="health_gathering_supreme", **fields):
    return EnvConfig(scenario=scenario, num_envs=2, num_groups=1, **fields)


@known
@pytest.mark.vizdoom
# Rows lie further apart than they are wide in images above 640 pixels.
@pytest.mark.parametrize(("width", "height"), [(160, 120), (256, 144), (800, 600)])
@pytest.mark.parametrize("scenario", ["health_gathering_supreme", "defend_the_center"])
def test_the_same_bytes(scenario, width, height):
    size = {"screen_width": width, "screen_height": height}
    size |= {"width": width, "height": height}
    ours, tuned = play(config(scenario, **size))
    theirs, stock = play(config(scenario, **size, engine="stock"))
    if not any(tuned) and os.geteuid() != 0:
        pytest.skip("this system forbids writing to another process's memory")
    assert tuned == [True, True]
    assert stock == [False, False]
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(a, b)


@known
@pytest.mark.vizdoom
def test_other_buffers_are_untouched():
    # They lie behind the screen's in the shared memory.
    more = {"depth": True, "labels": True, "automap": True}
    ours, _ = play(config(**more))
    theirs, _ = play(config(**more, engine="stock"))
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.vizdoom
def test_grey_images_leave_the_engine_alone():
    assert play(config(grayscale=True), decisions=1)[1] == [False, False]


# A byte of the loop, and one of the function's end, which restores the registers.
@known
@pytest.mark.parametrize("place", [20, 110])
def test_only_the_known_code_is_found(tmp_path, place):
    at = _core.find_screen_loop(str(ENGINE))
    assert at > 0
    other = tmp_path / "other"
    shutil.copy(ENGINE, other)
    with other.open("r+b") as file:
        file.seek(at + place)
        byte = file.read(1)
        file.seek(at + place)
        file.write(bytes([byte[0] ^ 1]))
    assert _core.find_screen_loop(str(other)) == -1
    # Twice is not known either.
    loop = ENGINE.read_bytes()[at : at + 120]
    twice = tmp_path / "twice"
    twice.write_bytes(loop + loop)
    assert _core.find_screen_loop(str(twice)) == -1


def test_a_file_that_is_not_there():
    assert _core.find_screen_loop(str(Path("/nowhere/vizdoom"))) == -1
