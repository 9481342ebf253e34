"""How far the settings travel: most modules are passed what they need of them."""

import sys
import threading

import pytest
from tiny import tiny_config

from jaxfactory.config.train import Config, EnvConfig, NetworkConfig, PPOConfig
from jaxfactory.training.loop import train


KINDS = (Config, EnvConfig, PPOConfig, NetworkConfig)


@pytest.fixture(scope="module")
def receivers(tmp_path_factory):
    """Modules with a function that receives settings, by the kind of settings.

    Those of `jaxfactory.config`, which define and check the settings, are left out.
    """
    found = {kind: set() for kind in KINDS}

    def profile(frame, event, arg):
        module = frame.f_globals.get("__name__", "")
        if event != "call" or not module.startswith("jaxfactory."):
            return
        if module.startswith("jaxfactory.config."):
            return
        code = frame.f_code
        for name in code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]:
            for kind in KINDS:
                if isinstance(frame.f_locals.get(name), kind):
                    found[kind].add(module)

    previous = sys.getprofile()
    threading.setprofile(profile)
    sys.setprofile(profile)
    try:
        train(tiny_config(updates=2), tmp_path_factory.mktemp("path") / "run")
    finally:
        sys.setprofile(previous)
        threading.setprofile(None)
    return found


@pytest.mark.vizdoom
def test_few_modules_receive_all_settings(receivers):
    assert len(receivers[Config]) <= 8, sorted(receivers[Config])


@pytest.mark.vizdoom
def test_few_modules_receive_all_settings_or_those_of_the_environments(receivers):
    modules = receivers[Config] | receivers[EnvConfig]
    assert len(modules) <= 15, sorted(modules)


@pytest.mark.vizdoom
def test_few_modules_receive_any_settings(receivers):
    modules = set.union(*receivers.values())
    assert len(modules) <= 21, sorted(modules)
