"""Loading of users' own classes and functions by name.

A reference is ``package.module:Name`` or ``folder/file.py:Name``. Modules are also
searched for in the current directory, as by ``python -m``.
"""

import contextlib
import importlib
import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from jaxfactory._util.errors import UserCodeError, UserError, did_you_mean


def load(reference: str, what: str) -> Any:
    """Return the object that a reference names.

    Args:
        reference: ``package.module:Name`` or ``folder/file.py:Name``.
        what: The flag it was given to, for error messages: ``"--network"``.

    Raises:
        UserError: If there is no such file, module or name in it.
        UserCodeError: If importing it raises anything else.

    Example:
        >>> load("fractions:Fraction", "--network")(1, 2)
        Fraction(1, 2)
    """
    place, _, name = reference.rpartition(":")
    if "<locals>" in name:
        raise UserError(
            f"{what} {reference!r} is defined inside a function, where it cannot be "
            "found by name; pass the object itself in Python, or move it to a module"
        )
    found: Any = load_module(reference, what)
    for part in name.split("."):
        if not hasattr(found, part):
            hint = did_you_mean(part, [n for n in vars(found) if n[0] != "_"])
            raise UserError(f"{what} {reference!r}: {place} has no {part!r}{hint}")
        found = getattr(found, part)
    return found


def load_module(reference: str, what: str) -> ModuleType:
    """Import the module that a reference names; raises the same errors as `load`."""
    place, colon, name = reference.rpartition(":")
    if not colon or not place or not name:
        raise UserError(
            f"{what} {reference!r} must be package.module:Name or folder/file.py:Name"
        )
    return _module(place, reference, what)


def pinned(reference: str) -> str:
    """Return a reference that is valid from every directory.

    File paths become absolute; other references do not change.
    """
    place, colon, name = reference.rpartition(":")
    if not place.endswith(".py"):
        return reference
    return f"{Path(place).expanduser().resolve()}{colon}{name}"


def name_of(thing: Any) -> str:
    """Return the reference with which `load` finds a class or function.

    An object defined in a script is referenced by the script's file. Another process
    cannot load an object that was defined in a function, in a notebook or at a prompt:
    its reference is informative only.
    """
    module, name = thing.__module__, thing.__qualname__
    file = getattr(sys.modules.get(module), "__file__", None)
    if (module == "__main__" or module.startswith(_PREFIX)) and file:
        return f"{Path(file).resolve()}:{name}"
    return f"{module}:{name}"


_PREFIX = "_jaxfactory_file_"
# Modules and files that are being imported.
_importing: list[str] = []


def being_imported() -> str:
    """Return the module or file that `load` is importing now, or ""."""
    return _importing[-1] if _importing else ""


def _module(place: str, reference: str, what: str) -> ModuleType:
    file = Path(place).expanduser().resolve()
    if place.endswith(".py") and not file.is_file():
        raise UserError(f"{what} {reference!r}: there is no file {place}")
    _importing.append(place)
    try:
        if place.endswith(".py"):
            return _from_file(file)
        with first_on_path(Path.cwd()):
            return importlib.import_module(place)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if not (place == missing or place.startswith(f"{missing}.")):
            raise _broken(reference, what, error) from error
        raise UserError(
            f"{what} {reference!r} cannot be imported: there is no module {missing!r} "
            f"in {Path.cwd()} nor installed; give a file's path, or run the command in "
            "the module's directory"
        ) from error
    except Exception as error:
        raise _broken(reference, what, error) from error
    finally:
        _importing.pop()


def _broken(reference: str, what: str, error: Exception) -> UserCodeError:
    return UserCodeError(
        f"{what} {reference!r} cannot be imported: {type(error).__name__}: {error}"
    )


def _from_file(file: Path) -> ModuleType:
    main = sys.modules.get("__main__")
    main_file = getattr(main, "__file__", None)
    if main is not None and main_file and Path(main_file).resolve() == file:
        return main  # The running script must not be imported twice.
    import hashlib  # slow to import, and the command line imports this module

    # The name depends on the path only: a file is imported once, and pickle works.
    digest = hashlib.sha256(os.fsencode(file)).hexdigest()[:12]
    name = f"{_PREFIX}{file.stem}_{digest}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        with first_on_path(file.parent):
            spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


@contextlib.contextmanager
def first_on_path(folder: Path) -> Iterator[None]:
    """Put a folder first on the import path during the block, and last after it.

    Last, so that its files cannot shadow libraries in later imports.
    """
    entry = str(folder)
    sys.path.insert(0, entry)
    try:
        yield
    finally:
        sys.path.remove(entry)
        if entry not in sys.path:
            sys.path.append(entry)
