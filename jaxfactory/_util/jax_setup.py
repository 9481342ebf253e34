"""Process settings that must precede the start of JAX. Does not import JAX."""

import ctypes
import importlib.metadata
import json
import os
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
    # One heap, which only grows.
    settings = (
        (_M_ARENA_MAX, 1),
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
