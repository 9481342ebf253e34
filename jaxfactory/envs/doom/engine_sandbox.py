"""The sandbox of an engine: its environment variables, files and system calls.

Engines parse maps and scripts that may be hostile. They get no environment variables
with keys or tokens, access only to their own files (if the kernel has Landlock), and
only the system calls that they need (if it has seccomp filters).
"""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from jaxfactory._util.errors import UserError
from jaxfactory.envs.doom.extension import _core


SWITCH = "JAXFACTORY_ENGINE_SANDBOX"
# Whether engines may be forked; see csrc/doom/engine/fork_server.h.
FORKS = "JAXFACTORY_ENGINE_FORKS"

# Loaded into the engines of a match; see csrc/doom/patches/match_preload.cc.
PRELOAD = Path(_core.__file__).with_name("_match_preload.so")

# Loaded into fork servers; see csrc/doom/patches/fork_preload.cc.
FORK_LIBRARY = PRELOAD.with_name("_fork_preload.so")

# The library path, for systems with libraries outside of the loader's default folders,
# and the locale and time zone, which C libraries read.
_VARIABLES = ("LD_LIBRARY_PATH", "LANG", "LANGUAGE", "TZ")
_VARIABLE_BEGINNINGS = ("LC_",)

# The dynamic loader and what it loads; locales; other files that the C library reads.
_SYSTEM = (
    "/lib", "/lib32", "/lib64", "/libx32", "/usr/lib", "/usr/lib32", "/usr/lib64",
    "/usr/libx32", "/usr/local/lib", "/usr/local/lib64", "/nix/store", "/gnu/store",
    "/etc/ld.so.cache", "/etc/ld.so.preload", "/etc/localtime",
    "/usr/share/locale", "/usr/share/zoneinfo", "/sys/devices/system/cpu",
    "/dev/urandom", "/dev/random",
)  # fmt: skip
# For the engine's shared memory segment and its settings, which it saves to /dev/null.
_WRITABLE = ("/dev/shm", "/dev/null")


def apply(engine: _core.EngineConfig, *, in_match: bool) -> None:
    """Set an engine's access rights, derived from its executable and arguments.

    Args:
        engine: The configuration to change; its executable and arguments are set.
        in_match: Whether it communicates with other engines over UDP.

    Raises:
        UserError: If the variable `SWITCH` is neither on nor off, or the library for
            engines of matches is missing.
    """
    # Copied here, not at an engine's start: other threads may change variables.
    engine.environment = environment(os.environ)
    engine.confined = _wanted(SWITCH)
    engine.readable = readable(
        engine.executable, engine.arguments, os.environ.get("LD_LIBRARY_PATH", "")
    )
    engine.writable = list(_WRITABLE)
    # Without its library, which is only an optimization, engines start one by one.
    if _wanted(FORKS) and FORK_LIBRARY.is_file():
        engine.fork_library = str(FORK_LIBRARY)
        engine.readable += [engine.fork_library]
    engine.udp = in_match
    if in_match:
        if not PRELOAD.is_file():
            raise UserError(
                f"the library {PRELOAD} is missing; without it the engines of a match "
                "would listen on all network addresses; reinstall jaxfactory"
            )
        engine.preload = str(PRELOAD)
        engine.readable += [engine.preload]


def environment(variables: Mapping[str, str]) -> list[str]:
    """Return the variables that an engine receives, each as ``NAME=value``."""
    return [
        f"{name}={value}"
        for name, value in variables.items()
        if name in _VARIABLES or name.startswith(_VARIABLE_BEGINNINGS)
    ]


def readable(
    executable: str, arguments: Iterable[str], library_path: str = ""
) -> list[str]:
    """Return the files and folders that an engine may read and execute.

    Args:
        executable: The engine, in the folder of the vizdoom package.
        arguments: Its arguments, which name map files.
        library_path: Folders of libraries, separated by colons.
    """
    folder = Path(executable).parent
    libraries = folder.with_name(f"{folder.name}.libs")
    found = [str(folder), str(libraries)]
    # Some installers create links into a store; Landlock checks their targets.
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


def _wanted(switch: str) -> bool:
    choice = os.environ.get(switch, "on")
    if choice not in ("on", "off"):
        raise UserError(f"{switch} is {choice!r}, but must be on or off")
    return choice == "on"
