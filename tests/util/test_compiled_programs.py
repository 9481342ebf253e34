"""Compiled programs are kept for the next start, where only the user can write."""

import os
import stat
import subprocess
import sys

import pytest

from jaxfactory._util import jax_setup


DIRECTORY = "JAX_COMPILATION_CACHE_DIR"


@pytest.fixture
def home(tmp_path, monkeypatch):
    for name in (DIRECTORY, *jax_setup._CACHE_SETTINGS):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_they_are_kept_in_a_private_folder(home):
    jax_setup.keep_compiled_programs()
    folder = os.environ[DIRECTORY]
    assert folder.startswith(str(home / "jaxfactory" / "programs"))
    assert stat.S_IMODE(os.stat(folder).st_mode) == 0o700
    assert set(jax_setup._CACHE_SETTINGS) <= set(os.environ)


@pytest.mark.parametrize("name", [DIRECTORY, "JAX_ENABLE_COMPILATION_CACHE"])
def test_a_user_s_own_setting_stays(home, monkeypatch, name):
    monkeypatch.setenv(name, "0")
    jax_setup.keep_compiled_programs()
    assert os.environ[name] == "0"
    assert not home.exists()


def test_where_others_can_write_nothing_is_kept(home):
    home.mkdir()
    home.chmod(0o777)
    jax_setup.keep_compiled_programs()
    assert DIRECTORY not in os.environ


PROGRAM = """
from jaxfactory._util import jax_setup
jax_setup.configure()
import jax, jax.numpy as jnp
from jaxfactory.config.network import NetworkConfig
from jaxfactory.models.actor_critic import ActorCritic
from jaxfactory.spec import ActionSpec, EnvSpec, ObservationSpec

spec = EnvSpec(ObservationSpec((40, 64, 3), 0), ActionSpec((3,)))
jax.jit(ActorCritic(spec, NetworkConfig()).init)(jax.random.key(0))
"""


def test_the_second_start_compiles_nothing_again(home, monkeypatch):
    # How long a small program takes to compile depends on what else runs.
    monkeypatch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    kept = []
    for _ in range(2):
        subprocess.run([sys.executable, "-c", PROGRAM], check=True)
        # Beside each program is the time of its last use.
        folder = home / "jaxfactory" / "programs"
        kept.append({path.name for path in folder.rglob("*-cache")})
    assert kept[0] == kept[1]
    assert kept[0]
