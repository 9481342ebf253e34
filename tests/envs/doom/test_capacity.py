"""Environments that do not fit into memory: fewer, or a message."""

import pytest

from jaxfactory._util.errors import UserError
from jaxfactory._util.machine import memory
from jaxfactory.cli import main, train_command
from jaxfactory.config.presets import PRESETS
from jaxfactory.config.train import Config, EnvConfig, PPOConfig
from jaxfactory.envs.doom import capacity


def machine(monkeypatch, mb: float, shared_mb: float = 64) -> None:
    monkeypatch.setattr(memory, "free_memory", lambda: 1e6 * mb)
    monkeypatch.setattr(memory, "free_shared", lambda: 1e6 * shared_mb)


# 510 MB, and for each environment 4 MB and 2 x 33 images of 128 x 72 x 3, 1.82 MB:
# 883 MB for 64, 696 for 32, 603 for 16, 557 for 8, 533 for 4.
@pytest.mark.parametrize(
    ("mb", "number"), [(2000, 64), (890, 64), (880, 32), (610, 16), (560, 8)]
)
def test_as_many_as_fit(monkeypatch, mb, number):
    machine(monkeypatch, mb)
    config, note = capacity.fitted(Config(), chosen=False)
    assert config.env.num_envs == number
    if number == 64:
        assert note == ""
    else:
        assert note == (
            f"64 environments need about 883 MB of memory, and {mb} MB are free: "
            f"training with {number}; --num-envs sets the number"
        )


def test_a_number_that_was_chosen_stays(monkeypatch):
    machine(monkeypatch, 800)
    config = Config(env=EnvConfig(num_envs=128))
    with pytest.raises(UserError, match=r"128 env.* 1,256 MB .* use --num-envs 32, or"):
        capacity.fitted(config, chosen=True)


def test_too_little_for_any(monkeypatch):
    machine(monkeypatch, 400)
    with pytest.raises(UserError, match="and 400 MB are free, and fewer do not fit"):
        capacity.fitted(Config(), chosen=False)


def test_shared_memory(monkeypatch):
    # 64 x (75 kB and 640 x 480 x 3 bytes) are 63.8 MB.
    env = EnvConfig(screen_width=640, screen_height=480)
    machine(monkeypatch, 4000)
    assert capacity.fitted(Config(env=env), chosen=False)[1] == ""
    machine(monkeypatch, 4000, shared_mb=32)
    config, note = capacity.fitted(Config(env=env), chosen=False)
    assert config.env.num_envs == 32
    assert note.startswith("64 environments need about 64 MB of /dev/shm, and 32 MB")


def test_numbers_stay_multiples(monkeypatch):
    machine(monkeypatch, 770)
    config = Config(
        env=EnvConfig(num_envs=54, num_groups=6), ppo=PPOConfig(num_minibatches=9)
    )
    # Half is 27: the next multiple of 6 and 9 is 18.
    assert capacity.fitted(config, chosen=False)[0].env.num_envs == 18


def test_other_families_are_not_judged(monkeypatch):
    machine(monkeypatch, 1)
    assert capacity.fitted(PRESETS["gymnasium"], chosen=False)[1] == ""


def test_the_command_says_so(monkeypatch, tmp_path, capsys):
    machine(monkeypatch, 700)
    seen = []
    monkeypatch.setattr(
        train_command, "_train", lambda options, config, run: seen.append(config) or 0
    )
    run = ["train", "--run", str(tmp_path / "run")]
    assert main.main([*run, "--scenario", "basic"]) == 0
    assert [config.env.num_envs for config in seen] == [32]
    assert "training with 32; --num-envs sets the number" in capsys.readouterr().out
    assert main.main([*run, "--num-envs=64"]) == 2
    assert "use --num-envs 32, or free some of it" in capsys.readouterr().err
