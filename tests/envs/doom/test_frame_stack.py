"""Stacked images: the pool against images stacked one by one in NumPy."""

import gymnasium
import numpy as np
import pytest
from tiny import tiny_config

from jaxfactory._util.errors import UserError
from jaxfactory.config.env import EnvConfig
from jaxfactory.config.train import EvaluateOptions
from jaxfactory.envs.doom.replay import _enlarged
from jaxfactory.envs.pool import env_spec, make_pool
from jaxfactory.evaluation import evaluate
from jaxfactory.training.loop import train


pytestmark = pytest.mark.vizdoom

STACK = 3
# 7 decisions an episode, 4 a slab: episodes and slabs end at different steps.
OPTIONS = {
    "num_envs": 4, "timeout": 28, "seed": 2, "num_steps": 4, "width": 24, "height": 20,
}  # fmt: skip


def played(**options):
    """Observations and final observations of 20 steps, with the ends of episodes."""
    with make_pool("basic", **OPTIONS, **options) as pool:
        rng = np.random.default_rng(1)
        heads = pool.spec.action.heads
        steps = [pool.reset()]
        found = [(steps[0].obs.copy(), steps[0].is_first.copy(), None)]
        for _ in range(20):
            actions = rng.integers(0, heads, (4, len(heads))).astype(np.int32)
            step = pool.step(actions)
            found.append(
                (step.obs.copy(), step.is_first.copy(), step.info.final_obs.copy())
            )
    return found


@pytest.mark.parametrize(
    "options",
    [{}, {"grayscale": True}, {"depth": True, "num_groups": 1}],
    ids=["rgb", "gray", "depth"],
)
def test_the_last_images_are_channels_and_the_first_one_is_repeated(options):
    plain, stacked = played(**options), played(frame_stack=STACK, **options)
    channels = plain[0][0].shape[-1]
    assert stacked[0][0].shape == (4, 20, 24, STACK * channels)
    ends = 0
    for env in range(4):
        recent = []
        for (obs, first, final), (got, got_first, got_final) in zip(
            plain, stacked, strict=True
        ):
            assert first[env] == got_first[env]
            if first[env] and recent:
                last = [*recent, final[env]][-STACK:]
                np.testing.assert_array_equal(got_final[env], np.concatenate(last, -1))
                ends += 1
            recent = [obs[env]] * STACK if first[env] else [*recent, obs[env]]
            recent = recent[-STACK:]
            np.testing.assert_array_equal(got[env], np.concatenate(recent, -1))
    # 20 steps are two whole episodes of 7; some end earlier, with the monster.
    assert ends >= 8
    # A stack of equal images would show nothing.
    assert any(
        (got[..., :channels] != got[..., -channels:]).any() for got, *_ in stacked
    )


def test_the_wrapper_shows_the_newest_image():
    made = {"width": 24, "height": 20, "render_mode": "rgb_array"}
    with_stack = gymnasium.make(
        "jaxfactory/Basic-v0", frame_stack=4, depth=True, **made
    )
    try:
        obs, _ = with_stack.reset(seed=1)
        assert obs.shape == (20, 24, 16)
        obs = with_stack.step(1)[0]
        np.testing.assert_array_equal(with_stack.render(), obs[..., 12:15])
    finally:
        with_stack.close()


def test_a_stack_is_trained_evaluated_and_filmed(tmp_path):
    config = tiny_config(env={"frame_stack": 2, "timeout": 28})
    assert env_spec(config.env).observation.image == (72, 128, 6)
    run = tmp_path / "run"
    train(config, run)
    options = EvaluateOptions(
        run=run, episodes=2, num_envs=2, checkpoint="latest", render_mp4=True
    )
    score = evaluate.score(options)
    assert score.result["episodes"] == 2
    assert (run / "evaluation.mp4").stat().st_size > 1000
    assert _enlarged(config.env, 1).frame_stack == 1


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"frame_stack": 0}, "--frame-stack 0 must be greater than 0"),
        ({"frame_stack": 65}, "--frame-stack 65 must be at most 64"),
        (
            {"frame_stack": 4, "scenario": "gymnasium:CartPole-v1"},
            "--frame-stack is for Doom and does nothing for gymnasium:CartPole-v1",
        ),
    ],
)
def test_a_bad_stack_is_one_sentence(settings, words):
    with pytest.raises(UserError) as error:
        EnvConfig(**settings)
    assert words in str(error.value)
