"""Configs: validation, and the way to JSON and back."""

import dataclasses
import json

import pytest

from jaxfactory._util.errors import UserError, did_you_mean
from jaxfactory.config.presets import PRESETS
from jaxfactory.config.train import (
    Config,
    EnvConfig,
    EvaluateOptions,
    NetworkConfig,
    PPOConfig,
    from_dict,
    to_dict,
)


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_survives_json(name):
    text = json.dumps(to_dict(PRESETS[name]))
    assert from_dict(json.loads(text)) == PRESETS[name]


def test_the_reference_preset_is_the_published_one():
    ppo = PRESETS["reference"].ppo
    assert (ppo.learning_rate, ppo.num_epochs, ppo.num_minibatches) == (1e-4, 1, 1)
    assert not ppo.bootstrap_truncated
    # 32 environments x 32 steps: batches of 1,024 in whole chunks.
    assert PRESETS["reference"].env.num_envs * ppo.num_steps == 1024


def test_frames_per_iteration():
    config = Config(
        env=EnvConfig(num_envs=8, frame_skip=4), ppo=PPOConfig(num_steps=16)
    )
    assert config.frames_per_iteration == 8 * 16 * 4


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Config(total_frames=0), "--total-frames 0 must be greater"),
        (lambda: Config(seed=-1), "--seed -1"),
        (lambda: EnvConfig(num_envs=0), "--num-envs 0"),
        (lambda: EnvConfig(num_envs=7), "try 6"),
        (lambda: EnvConfig(num_envs=1, num_groups=2), "try 2"),
        (lambda: EnvConfig(num_workers=-1), "--num-workers -1"),
        (lambda: EnvConfig(timeout=0), "--timeout 0"),
        (lambda: Config(env=EnvConfig(num_envs=6)), "--num-minibatches 4"),
        (lambda: PPOConfig(gamma=1.5), "--gamma 1.5 must be between 0 and 1"),
        (
            lambda: PPOConfig(adam_betas=(0.9, 1.0)),
            "--adam-betas 0.9 1.0 must both be at least 0 and less than 1",
        ),
        (lambda: PPOConfig(kl_coef=-1.0), "--kl-coef -1.0 must be between 0 and"),
        (lambda: Config(train_for_minutes=-1.0), "--train-for-minutes -1.0 must be"),
        (lambda: PPOConfig(learning_rate=0.0), "--learning-rate 0.0"),
        (lambda: NetworkConfig(conv_channels=(1, 2)), "--conv-channels (1, 2)"),
        (lambda: EvaluateOptions(episodes=0), "--episodes 0"),
    ],
)
def test_a_bad_value_is_one_sentence_that_carries_it(make, words):
    with pytest.raises(UserError) as error:
        make()
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_an_unknown_setting_in_json_is_refused():
    data = to_dict(Config())
    data["ppo"]["warp"] = 9
    with pytest.raises(UserError, match="warp"):
        from_dict(data)


def test_configurations_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().seed = 1


def test_did_you_mean():
    assert did_you_mean("trian", ["train", "evaluate"]) == "; did you mean 'train'?"
    assert did_you_mean("xyz", ["train", "evaluate"]) == ""
