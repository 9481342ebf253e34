"""What several devices and processes refuse, and how their metrics are joined."""

import re

import pytest
from tiny import tiny_config

from jaxfactory._util.errors import UserError
from jaxfactory.config.network import BonusConfig
from jaxfactory.config.train import SelfPlayConfig
from jaxfactory.distributed.devices import ONE_DEVICE
from jaxfactory.distributed.team import SOLO, Solo
from jaxfactory.envs import family
from jaxfactory.envs.pool import make_pool
from jaxfactory.training.team import agreement, members


class Second(Solo):
    """The second of two processes, of which the first shares something else."""

    count = 2
    number = 1

    def __init__(self, first):
        self.first = first

    def share(self, what):
        return [self.first, what]


def test_one_device_is_the_default():
    assert members.choose_devices(tiny_config(), "1", SOLO) is ONE_DEVICE


@pytest.mark.parametrize(
    ("changes", "devices", "message"),
    [
        (
            {},
            "3",
            "--devices 3 is more than the 2 that JAX finds here; on a CPU, set "
            "JAX_NUM_CPU_DEVICES=3",
        ),
        (
            {"env": {"num_envs": 6}},
            "2",
            "--num-envs 6 must be a multiple of --num-groups 2 times the 2 devices",
        ),
        (
            {"ppo": {"num_minibatches": 4}},
            "2",
            "the 4 environments of all processes must be a multiple of 8 "
            "(--num-minibatches 4 times 2 devices)",
        ),
        ({"intrinsic": BonusConfig(bonus="rnd")}, "2", "--bonus rnd works on one"),
        ({"ppo": {"bptt": 4}}, "all", "--bptt 4 works on one device only; leave it"),
        ({"ppo": {"prioritized_alpha": 0.5}}, "2", "--prioritized-alpha 0.5 works on"),
        (
            {"self_play": SelfPlayConfig(self_play_share=0.5)},
            "2",
            "--self-play-share 0.5 works on one device only",
        ),
    ],
)
def test_what_devices_cannot_do_is_refused(changes, devices, message):
    with pytest.raises(UserError, match=re.escape(message)):
        members.choose_devices(tiny_config(**changes), devices, SOLO)


@pytest.mark.parametrize(
    ("changes", "first", "message"),
    [
        ({}, 2, "the processes have 2, 1 devices, but need as many each"),
        ({"resume": "exact"}, 1, "--resume exact works in one process only"),
    ],
)
def test_what_processes_cannot_do_is_refused(changes, first, message):
    with pytest.raises(UserError, match=re.escape(message)):
        members.choose_devices(tiny_config(**changes), "1", Second(first))


def test_other_settings_than_those_of_process_0_are_refused():
    config = tiny_config(ppo={"ent_coef": 0.5})
    first = members._flat({"ppo": {"ent_coef": 0.25}, "watch": {"wandb": True}})
    assert first == {"ppo.ent_coef": "0.25"}
    whole = members._flat(members.dataclasses.asdict(config))
    with pytest.raises(UserError, match=r"process 1 has --ent-coef 0.5 and process 0"):
        members.check_same(Second({**whole, **first}), config)
    members.check_same(Second(whole), config)


def test_metrics_of_processes_are_means_maxima_and_sums():
    joined = agreement.joined_metrics(
        [
            {"time/act": 1.0, "policy_lag/max": 0.5, "pool/engine_restarts": 1.0},
            {
                "time/act": 2.0, "policy_lag/max": 1.0, "pool/engine_restarts": 2.0,
                "time/policy_wait": 4.0,
            },
        ]
    )  # fmt: skip
    assert joined == {
        "time/act": 1.5, "policy_lag/max": 1.0, "pool/engine_restarts": 3.0,
        "time/policy_wait": 2.0,
    }  # fmt: skip


@pytest.mark.parametrize("scenario", ["basic", "gymnasium:CartPole-v1"])
def test_seeds_are_those_that_a_pool_derives(scenario):
    with make_pool(scenario, num_envs=4, num_groups=1, seed=123) as pool:
        assert list(pool.seeds) == family.of(scenario).env_seeds(123, 4)
