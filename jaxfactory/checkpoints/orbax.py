"""Orbax, which writes and reads a checkpoint's arrays, in one process alone."""

import contextlib
import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np


# Its event loops cannot be used by several threads at once.
_ONE_AT_A_TIME = threading.Lock()


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


def _alone() -> contextlib.AbstractContextManager[Any]:
    """Keep Orbax from waiting for the other processes, which save nothing."""
    if jax.process_count() == 1:
        return contextlib.nullcontext()
    own = jax.process_index()
    orbax = _library()
    # This check of the path broadcasts to all processes, whatever the options say.
    with contextlib.suppress(ImportError):
        from orbax.checkpoint.experimental.v1._src.saving import execution

        execution._check_directory_consistency = lambda directory: None
    return orbax.Context(
        multiprocessing_options=orbax.options.MultiprocessingOptions(
            primary_host=own,
            active_processes={own},
            barrier_sync_key_prefix="jaxfactory",
        )
    )


def _library() -> Any:
    """Return the library. Its import takes a while, and a new run does not need it."""
    from orbax.checkpoint import v1

    return v1
