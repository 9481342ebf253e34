"""Settings of a population that contradict each other or the rest are refused."""

import pytest

from jaxfactory._util.errors import UserError
from jaxfactory.config.agents.population import PopulationConfig
from jaxfactory.config.train import Config, EnvConfig, PPOConfig


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"pbt": True}, "--pbt needs several policies"),
        ({"policy_values": ("gamma=0.9",)}, "--policy-values needs several policies"),
        ({"num_policies": 0}, "--num-policies 0 must be greater than 0"),
        ({"num_policies": 300}, "--num-policies 300 must be at most 256"),
        ({"num_policies": 2, "pbt_gap": 0.3}, "--pbt-gap does nothing without --pbt"),
        ({"num_policies": 2, "pbt": True, "pbt_fraction": 0.7},
         "--pbt-fraction 0.7 must be greater than 0 and at most 0.5"),
        ({"num_policies": 2, "pbt": True, "pbt_mutation_range": (1.5, 1.1)},
         "--pbt-mutation-range 1.5 1.1 must be two factors"),
        ({"num_policies": 2, "pbt": True, "pbt_mutation_probability": 1.5},
         "--pbt-mutation-probability 1.5 must be between 0 and 1"),
        ({"num_policies": 2, "pbt": True, "pbt_settings": ("gama",)},
         "--pbt-settings cannot mutate 'gama'; did you mean 'gamma'"),
        ({"num_policies": 2, "pbt": True, "pbt_selection": "truncation",
          "pbt_gap": 0.3}, "--pbt-gap 0.3 does nothing with --pbt-selection"),
        ({"num_policies": 2, "policy_values": ("gamma",)}, "must be NAME=VALUE,VALUE"),
        ({"num_policies": 2, "policy_values": ("gamma=0.9",)},
         "has 1 values and needs one for each of --num-policies 2"),
        ({"num_policies": 2, "policy_values": ("gamma=0.9,x",)}, "finite numbers"),
        ({"num_policies": 2, "policy_values": ("gamma=0.9,2",)},
         "--gamma 2.0 must be between 0 and 1"),
        ({"num_policies": 2, "policy_values": ("gamma=0.9,1",) * 2},
         "--policy-values sets gamma twice"),
    ],
)  # fmt: skip
def test_nonsense_is_refused(changes, words):
    with pytest.raises(UserError, match=words):
        PopulationConfig(**changes)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"env": EnvConfig(num_envs=36, num_groups=1)},
         r"--num-envs 36 must be a multiple of --num-policies 8, .* try 32"),
        ({"env": EnvConfig(num_envs=8)}, "the 1 of each must be a multiple of "
         "--num-minibatches 4"),
        ({"mode": "async"}, "--mode async is for a single policy"),
        ({"ppo": PPOConfig(kl_target=0.01)}, "--kl-target 0.01 sets the learning rate"),
        ({"total_frames": 900_000}, "first ranking is after 1,000,000 frames"),
    ],
)  # fmt: skip
def test_what_does_not_go_with_several_policies_is_refused(changes, words):
    count = 8 if "env" in changes else 4
    with pytest.raises(UserError, match=words):
        Config(population=PopulationConfig(num_policies=count, pbt=True), **changes)
