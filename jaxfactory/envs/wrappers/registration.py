"""Doom's scenarios in Gymnasium's registry.

Gymnasium loads no plug-ins by itself, so that ``import jaxfactory`` registers them: at
once where Gymnasium is imported already, else as soon as it is. Importing it here would
make every start of the command line wait for it. What an environment needs is imported
when one is made.
"""

import sys
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


NAMESPACE = "jaxfactory"
# Takes a scenario's name or the path of a .cfg file as its `scenario`.
ANY_SCENARIO = f"{NAMESPACE}/Doom-v0"


def env_id(scenario: str) -> str:
    """Return the name of a scenario in the registry.

    >>> env_id("health_gathering_supreme")
    'jaxfactory/HealthGatheringSupreme-v0'
    """
    words = "".join(word.capitalize() for word in scenario.split("_"))
    return f"{NAMESPACE}/{words}-v0"


def register_with_gymnasium() -> None:
    """Register every scenario now, or when Gymnasium is imported."""
    if "gymnasium" in sys.modules:
        register_scenarios()
    elif not any(isinstance(finder, _Registering) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Registering())


class _Registering:
    """Finds Gymnasium as the other finders do, and registers once it is imported."""

    def find_spec(
        self,
        name: str,
        path: Any = None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        """Return the module's spec, with a loader that registers afterwards."""
        if name != "gymnasium":
            return None
        others = [finder for finder in sys.meta_path if finder is not self]
        specs = (finder.find_spec(name, path, target) for finder in others)
        spec = next((spec for spec in specs if spec is not None), None)
        if spec is None or spec.loader is None:
            return spec
        load = spec.loader.exec_module

        def load_and_register(module: ModuleType) -> None:
            load(module)
            register_scenarios()

        spec.loader.exec_module = load_and_register  # type: ignore[method-assign]
        return spec


def register_scenarios() -> None:
    """Register every scenario, where Gymnasium is installed; once is enough.

    One whose map is missing is registered too: making it says where the map was looked
    for.
    """
    try:
        from gymnasium.envs.registration import register, registry
    except ImportError:
        return
    if ANY_SCENARIO in registry:
        return
    from jaxfactory._util.errors import UserError
    from jaxfactory.scenarios import scenario_table

    entry_points = {
        "entry_point": "jaxfactory.envs.wrappers.single_env:DoomEnv",
        "vector_entry_point": "jaxfactory.envs.wrappers.vector_env:DoomVectorEnv",
    }
    register(ANY_SCENARIO, **entry_points)
    try:
        names = scenario_table.names()
    except UserError:  # ViZDoom itself is missing; its scenarios come with it.
        return
    for name in names:
        register(env_id(name), kwargs={"scenario": name}, **entry_points)
