"""Orbax, which writes and reads a checkpoint's arrays, in one process alone."""

import contextlib
import importlib
import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np


# Its event loops cannot be used by several threads at once.
_ONE_AT_A_TIME = threading.Lock()
# What makes Orbax take a process for the only one, which its options do not: it would
# compare the path with all others, write NumPy arrays in process 0 alone, and pass
# signals between its threads through a store that all processes share.
_ALONE = (
    (
        "experimental.v1._src.saving.execution", "_check_directory_consistency",
        lambda directory: None,
    ),
    ("_src.multihost.multihost", "process_index", lambda: 0),
    ("_src.multihost.multihost", "process_count", lambda: 1),
    (
        "_src.multihost.multihost", "is_jax_distributed_client_initialized",
        lambda: False,
    ),
    ("experimental.v1._src.synchronization.multihost", "process_index", lambda: 0),
)  # fmt: skip


def save(folder: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write arrays, none of them empty, to a new folder."""
    with _ONE_AT_A_TIME, _quiet(), _alone():
        _library().save(folder.resolve(), arrays)


def load(folder: Path, like: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Read the arrays of a folder.

    Args:
        folder: What `save` wrote.
        like: Arrays of the same names, shapes and types.
    """
    with _ONE_AT_A_TIME, _quiet(), _alone():
        return _library().load(folder.resolve(), like)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence Orbax's logging of errors that it also raises."""
    logger = logging.getLogger("absl")
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Keep Orbax from sharing the work with other processes, or waiting for them."""
    if jax.process_count() == 1:
        yield
        return
    orbax = _library()
    options = orbax.options.MultiprocessingOptions(
        primary_host=0, active_processes={0}, barrier_sync_key_prefix="jaxfactory"
    )
    with contextlib.ExitStack() as stack:
        for module, name, value in _ALONE:
            # They are not public, and a version may lack one.
            with contextlib.suppress(ImportError, AttributeError):
                owner = importlib.import_module(f"orbax.checkpoint.{module}")
                stack.callback(setattr, owner, name, getattr(owner, name))
                setattr(owner, name, value)
        stack.enter_context(orbax.Context(multiprocessing_options=options))
        yield


def _library() -> Any:
    """Return the library. Its import takes a while, and a new run does not need it."""
    from orbax.checkpoint import v1

    return v1
