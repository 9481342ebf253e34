"""Registers Doom's scenarios as Gymnasium environments.

Gymnasium 1.0 and later do not load plug-ins from entry points, so ``import jaxfactory``
registers the scenarios: at once if Gymnasium has been imported, else right after it is.
Importing Gymnasium here would add 0.15 s to every start of the command line.
"""

import sys
import warnings
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


NAMESPACE = "jaxfactory"
# Its argument `scenario` is a scenario's name or the path of a .cfg file.
ANY_SCENARIO = f"{NAMESPACE}/Doom-v0"


def env_id(scenario: str) -> str:
    """Return the ID of a scenario in Gymnasium's registry.

    >>> env_id("health_gathering_supreme")
    'jaxfactory/HealthGatheringSupreme-v0'
    """
    words = "".join(word.capitalize() for word in scenario.split("_"))
    return f"{NAMESPACE}/{words}-v0"


def register_with_gymnasium() -> None:
    """Register every scenario now, or right after Gymnasium is imported."""
    if "gymnasium" in sys.modules:
        register_scenarios()
    elif not any(isinstance(finder, _RegisterAfterImport) for finder in sys.meta_path):
        sys.meta_path.insert(0, _RegisterAfterImport())


class _RegisterAfterImport:
    """A finder that delegates Gymnasium's import, then registers the scenarios."""

    def find_spec(
        self,
        name: str,
        path: Any = None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        """Return Gymnasium's spec, with a loader that registers afterwards."""
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
            if self in sys.meta_path:
                sys.meta_path.remove(self)
            try:
                register_scenarios()
            except Exception as error:  # Gymnasium itself must stay usable.
                warnings.warn(
                    "Doom's scenarios are not registered with Gymnasium: "
                    f"{type(error).__name__}: {error}",
                    RuntimeWarning,
                    stacklevel=2,
                )

        spec.loader.exec_module = load_and_register  # type: ignore[method-assign]
        return spec


def register_scenarios() -> None:
    """Register every scenario, if Gymnasium is installed and none is registered yet.

    A scenario whose map is missing is registered too: making it raises an error that
    names the package with the map.
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
    except UserError:  # ViZDoom, which has most scenarios' files, is missing.
        return
    for name in names:
        register(env_id(name), kwargs={"scenario": name}, **entry_points)
