"""Process settings that must precede the start of JAX. Does not import JAX."""

import ctypes
import hashlib
import importlib.metadata
import json
import os
import platform
import subprocess
import sys

from jaxfactory._util import paths


# By default, XLA lowers CPU convolutions to a slow kernel. This flag makes the update
# 2.7 times as fast on two cores. It affects the CPU backend only, not a GPU.
CPU_FUSION_FLAG = "--xla_cpu_experimental_ynn_fusion_type"
CPU_FUSION_VALUE = "LIBRARY_FUSION_TYPE_DOT"

# Versions of jaxlib that are known to accept the flag or not, and need no probe.
_KNOWS_FLAG = {"0.10.2": True}

_PROBE_SECONDS = 60

# Keep programs that took longer than this to compile, and the last used 512 MiB.
_CACHE_SETTINGS = {
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1",
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "0",
    "JAX_COMPILATION_CACHE_MAX_SIZE": str(2**29),
}

# mallopt's parameters, from glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -2, -4, -8
_MADV_HUGEPAGE = 14
_HUGE_PAGE = 2**21
# Reserved address space; pages are allocated when they are first written.
_RESERVED = 2**30


def configure() -> None:
    """Configure the process for JAX. Call this before JAX's backend starts."""
    keep_freed_memory()
    configure_xla()
    keep_compiled_programs()


def keep_freed_memory() -> None:
    """Let malloc keep freed memory, in huge pages, instead of returning it.

    XLA's CPU backend allocates many megabytes for every call and frees them afterwards.
    Without this, the kernel clears each page again, which takes a third of the time of
    an update. Does nothing if the C library is not glibc.
    """
    try:
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt, libc.madvise, libc.malloc, libc.free  # noqa: B018 - are they there?
    except (OSError, AttributeError):
        return
    # A heap that only grows; a single one on the CPU.
    settings = (
        # Threads that feed a GPU would wait for each other.
        *([] if _has_gpu() else [(_M_ARENA_MAX, 1)]),
        (_M_MMAP_MAX, 0),
        (_M_TRIM_THRESHOLD, 2**31 - 1),
        (_M_TOP_PAD, 2**26),
    )
    for parameter, value in settings:
        libc.mallopt(parameter, value)
    libc.malloc.restype = ctypes.c_void_p
    libc.malloc.argtypes = [ctypes.c_size_t]
    libc.free.argtypes = [ctypes.c_void_p]
    libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    block = libc.malloc(_RESERVED)
    if not block:
        return
    start = -(-block // _HUGE_PAGE) * _HUGE_PAGE
    size = (block + _RESERVED - start) // _HUGE_PAGE * _HUGE_PAGE
    libc.madvise(start, size, _MADV_HUGEPAGE)
    libc.free(block)


def _has_gpu() -> bool:
    """Whether JAX may use a GPU of NVIDIA's or AMD's."""
    if os.environ.get("JAX_PLATFORMS", "") == "cpu":
        return False
    return any(os.path.exists(path) for path in ("/dev/nvidiactl", "/dev/kfd"))


def configure_xla() -> None:
    """Add flags that make JAX faster to ``XLA_FLAGS``, if jaxlib supports them.

    Has an effect only before JAX's backend starts. Does not change a flag that the user
    has set.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    flags = os.environ.get("XLA_FLAGS", "")
    if CPU_FUSION_FLAG in flags:
        return
    addition = f"{CPU_FUSION_FLAG}={CPU_FUSION_VALUE}"
    if _knows_flag(addition):
        os.environ["XLA_FLAGS"] = f"{flags} {addition}".strip()


def keep_compiled_programs() -> None:
    """Let JAX keep compiled programs in the user's cache folder for the next start.

    Compiling takes most of the time before a run's first frames. Does nothing if the
    user has set ``JAX_COMPILATION_CACHE_DIR`` or ``JAX_ENABLE_COMPILATION_CACHE``, or
    if other users can write to the folder: compiled programs are code.
    """
    if {"JAX_COMPILATION_CACHE_DIR", "JAX_ENABLE_COMPILATION_CACHE"} & set(os.environ):
        return
    # Compiled for the instructions of this processor, which another machine with the
    # same home folder may lack.
    folder = paths.cache() / "programs" / _processor()
    try:
        if paths.make_private(folder):
            return
    except OSError:
        return
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(folder)
    for name, value in _CACHE_SETTINGS.items():
        os.environ.setdefault(name, value)


def _processor() -> str:
    """Return a name of the processor's model and instructions."""
    try:
        with open("/proc/cpuinfo") as file:
            lines = {line for line in file if line.startswith(("model name", "flags"))}
    except OSError:
        lines = {platform.machine(), platform.processor()}
    return hashlib.sha256("".join(sorted(lines)).encode()).hexdigest()[:16]


def _knows_flag(flag: str) -> bool:
    """Whether the installed jaxlib supports the flag; unknown ones abort Python."""
    version = importlib.metadata.version("jaxlib")
    if version in _KNOWS_FLAG:
        return _KNOWS_FLAG[version]
    cache = paths.cache() / "xla_flags.json"
    key = f"{version} {flag}"
    try:
        # Do not trust a folder that other users can write to.
        private = not paths.make_private(cache.parent)
        answers = json.loads(cache.read_text()) if private else {}
        if key in answers:
            return bool(answers[key])
    except (OSError, ValueError, TypeError):
        answers = {}
    answer = _probe(flag)
    try:
        if not paths.make_private(cache.parent):
            cache.write_text(json.dumps({**answers, key: answer}))
    except OSError:
        pass  # Without a cache, the next start probes again.
    return answer


def _probe(flag: str) -> bool:
    environment = {**os.environ, "XLA_FLAGS": flag, "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", "import jax; jax.devices()"]
    try:
        result = subprocess.run(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=_PROBE_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return result.returncode == 0
