"""The C++ extension of Doom, or a stand-in if it is not built.

Doom's modules import `_core` from here, so they can be imported without the extension.
Training on Gymnasium environments then works, and starting Doom raises `UserError`.
"""

from typing import Any, NoReturn

from jaxfactory._util.errors import UserError


class _Missing:
    """Has every name of the extension; calling one raises `UserError`."""

    __file__ = __file__

    class EngineError(RuntimeError):
        """Never raised: there are no engines."""

    def __init__(self, reason: ImportError):
        self._reason = reason

    def __getattr__(self, name: str) -> Any:
        def fail(*_: Any, **__: Any) -> NoReturn:
            raise UserError(
                "cannot start Doom: the extension jaxfactory._core cannot be imported "
                f"({self._reason}); build jaxfactory on Linux with the CMake option "
                "JAXFACTORY_DOOM=ON, or use a gymnasium: environment"
            ) from self._reason

        return fail() if name == "ENGINE_VERSION" else fail


try:
    from jaxfactory import _core
except ImportError as error:
    _core = _Missing(error)  # type: ignore[assignment]
