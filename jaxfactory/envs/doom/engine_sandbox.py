"""What an engine is given: environment variables, files, and nothing else.

Engines parse maps and scripts that may come from strangers. They get no variables with
keys or tokens in them and, where the kernel has Landlock, no files but their own. Where
it has seccomp filters, they may not call it for what they do not need.
"""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from jaxfactory._util.errors import UserError
from jaxfactory.envs.doom.extension import _core


SWITCH = "JAXFACTORY_ENGINE_SANDBOX"

# Loaded into the engines of a match; see its source.
PRELOAD = Path(_core.__file__).with_name("_match_preload.so")

# Where libraries lie on systems that keep them elsewhere than the loader looks, and
# language and time, which C libraries ask for.
_VARIABLES = ("LD_LIBRARY_PATH", "LANG", "LANGUAGE", "TZ")
_VARIABLE_BEGINNINGS = ("LC_",)

# The dynamic loader and what it loads; locales; what the C library asks for.
_SYSTEM = (
    "/lib", "/lib32", "/lib64", "/libx32", "/usr/lib", "/usr/lib32", "/usr/lib64",
    "/usr/libx32", "/usr/local/lib", "/usr/local/lib64", "/nix/store", "/gnu/store",
    "/etc/ld.so.cache", "/etc/ld.so.preload", "/etc/localtime",
    "/usr/share/locale", "/usr/share/zoneinfo", "/sys/devices/system/cpu",
    "/dev/urandom", "/dev/random",
)  # fmt: skip
# The engine makes its segment in the one, and saves its settings to the other.
_WRITABLE = ("/dev/shm", "/dev/null")


def apply(engine: _core.EngineConfig, *, in_match: bool) -> None:
    """Fill in what an engine may see, from its executable and its arguments.

    Args:
        engine: Its executable and arguments are set.
        in_match: Whether it talks to other engines over UDP.

    Raises:
        UserError: If the variable `SWITCH` has another value than on or off, or the
            library that the engines of matches need is missing.
    """
    # Copied here and not where an engine starts: another thread may change variables.
    engine.environment = environment(os.environ)
    engine.confined = _wanted()
    engine.readable = readable(
        engine.executable, engine.arguments, os.environ.get("LD_LIBRARY_PATH", "")
    )
    engine.writable = list(_WRITABLE)
    engine.udp = in_match
    if in_match:
        if not PRELOAD.is_file():
            raise UserError(
                f"the library {PRELOAD} is missing, without which the engines of a "
                "match would listen on all network addresses; install jaxfactory again"
            )
        engine.preload = str(PRELOAD)
        engine.readable += [engine.preload]


def environment(variables: Mapping[str, str]) -> list[str]:
    """Return the variables that an engine is given, each as ``NAME=value``."""
    return [
        f"{name}={value}"
        for name, value in variables.items()
        if name in _VARIABLES or name.startswith(_VARIABLE_BEGINNINGS)
    ]


def readable(
    executable: str, arguments: Iterable[str], library_path: str = ""
) -> list[str]:
    """Return the files and folders that an engine may read, and run.

    Args:
        executable: In the folder of the vizdoom package.
        arguments: Map files are read from these.
        library_path: Folders of libraries, with colons between them.
    """
    folder = Path(executable).parent
    libraries = folder.with_name(f"{folder.name}.libs")
    found = [str(folder), str(libraries)]
    # Some installers put links into their store there: where they lead counts.
    for place in (folder, libraries, folder / "scenarios"):
        if place.is_dir():
            found += [str(p.resolve()) for p in place.iterdir() if p.is_symlink()]
    found += [path for path in library_path.split(":") if os.path.isabs(path)]
    return [*found, *_data_files(arguments), *_SYSTEM]


def _data_files(arguments: Iterable[str]) -> list[str]:
    """Return what follows ``-iwad`` and ``-file``, up to the next option."""
    found, reading = [], False
    for word in arguments:
        if word.startswith(("-", "+")):
            reading = word in ("-iwad", "-file")
        elif reading and os.path.isabs(word):
            found.append(word)
    return found


def _wanted() -> bool:
    choice = os.environ.get(SWITCH, "on")
    if choice not in ("on", "off"):
        raise UserError(f"{SWITCH} is {choice!r}, but must be on or off")
    return choice == "on"
