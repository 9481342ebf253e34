"""What must be set in the process before JAX starts. Never imports JAX."""

import ctypes
import importlib.metadata
import json
import os
import subprocess
import sys

from jaxfactory._util import paths


# XLA's own lowering hands CPU convolutions to a slow kernel; this one makes the
# update 2.7 times as fast on two cores. It touches the CPU backend alone, so it is
# harmless beside a GPU.
CPU_FUSION_FLAG = "--xla_cpu_experimental_ynn_fusion_type"
CPU_FUSION_VALUE = "LIBRARY_FUSION_TYPE_DOT"

# Versions of jaxlib of which the answer is known, so that they need no probe.
_KNOWS_FLAG = {"0.10.2": True}

_PROBE_SECONDS = 60

# mallopt's parameters, from glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -2, -4, -8
_MADV_HUGEPAGE = 14
_HUGE_PAGE = 2**21
# Reserved, not used: memory is taken when it is written to.
_RESERVED = 2**30


def configure() -> None:
    """Set the process up so that JAX runs fast in it; before JAX's backend starts."""
    keep_freed_memory()
    configure_xla()


def keep_freed_memory() -> None:
    """Let malloc keep what is freed, in huge pages, instead of giving it back.

    XLA's CPU backend takes the memory of every call anew and frees it afterwards, many
    megabytes that the kernel would clear page by page each time: a third of the time
    of an update. Does nothing where the C library is not glibc.
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
    """Add the flags that speed JAX up to ``XLA_FLAGS``, where it knows them.

    Has an effect only before JAX's backend starts. A flag that the user has set is
    left alone.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    flags = os.environ.get("XLA_FLAGS", "")
    if CPU_FUSION_FLAG in flags:
        return
    addition = f"{CPU_FUSION_FLAG}={CPU_FUSION_VALUE}"
    if _knows_flag(addition):
        os.environ["XLA_FLAGS"] = f"{flags} {addition}".strip()


def _knows_flag(flag: str) -> bool:
    """Whether the installed jaxlib takes the flag; an unknown one aborts Python."""
    version = importlib.metadata.version("jaxlib")
    if version in _KNOWS_FLAG:
        return _KNOWS_FLAG[version]
    cache = paths.cache() / "xla_flags.json"
    key = f"{version} {flag}"
    try:
        # Where others can write, neither is their answer taken nor their link followed.
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
        pass  # Without a cache the next start probes again; nothing else is lost.
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
