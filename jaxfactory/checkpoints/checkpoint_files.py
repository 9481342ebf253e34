"""A checkpoint's files, written atomically.

A checkpoint is a directory named by its frames. ``state/`` holds the arrays, written
by Orbax as a flat dictionary whose keys are the leaves' paths; ``host.json`` holds
the host-side state, and every leaf's shape and type, so that an error about another
network's state names the leaf. Both are written to a scratch directory, which one
rename turns into the checkpoint: a process killed halfway leaves the scratch directory,
never a partial checkpoint.
"""

import contextlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from jaxfactory._util.errors import UserError
from jaxfactory.checkpoints import disk_room, host_file, orbax
from jaxfactory.config import runs


State = TypeVar("State")

KEPT = 2
SCRATCH = ".unfinished"
DISCARDED = ".discarded"


def write_arrays(
    run_dir: Path,
    kind: str,
    arrays: dict[str, np.ndarray],
    host: dict[str, Any],
    *,
    kept: int | None = KEPT,
) -> Path:
    """Write a checkpoint atomically, and remove the oldest of its kind.

    Args:
        run_dir: The run.
        kind: ``"latest"``, ``"best"`` or ``"kept"``.
        arrays: Every leaf of the state, by its path.
        host: Host-side state; ``host["frames"]`` names the checkpoint.
        kept: How many of its kind are kept, including this one; None for all.

    Returns:
        The checkpoint's directory.
    """
    scratch = run_dir / runs.CHECKPOINTS / SCRATCH
    shutil.rmtree(scratch, ignore_errors=True)
    try:
        scratch.mkdir(parents=True)
        return _write(run_dir, kind, scratch, arrays, host, kept)
    except Exception:
        shutil.rmtree(scratch, ignore_errors=True)  # The disk may be full.
        raise


def _write(
    run_dir: Path,
    kind: str,
    scratch: Path,
    arrays: dict[str, np.ndarray],
    host: dict[str, Any],
    kept: int | None,
) -> Path:
    check_finite(arrays)
    shapes = shapes_of_arrays(arrays)
    text = json.dumps(
        {**host, "leaves": shapes, "checksum": host_file.checksum(arrays)}
    )
    (scratch / "host.json").write_text(text)
    disk_room.check(scratch, arrays)
    # Orbax refuses empty arrays; they are restored from their shape alone.
    full = {name: array for name, array in arrays.items() if array.size}
    orbax.save(scratch / "state", full)
    final = run_dir / runs.CHECKPOINTS / kind / f"{host['frames']:012d}"
    final.parent.mkdir(exist_ok=True)
    if final.exists():  # Damaged: training went back to the one before it.
        remove(final)
    scratch.rename(final)
    if kept is None:
        return final
    others = [path for path in runs.checkpoint_dirs(run_dir, kind) if path != final]
    # By time, not by name: a damaged checkpoint may have more frames.
    others.sort(key=lambda path: path.stat().st_mtime)
    for path in others[: len(others) + 1 - kept]:
        remove(path)
    return final


def remove(checkpoint: Path) -> None:
    """Remove a checkpoint; a process that is killed meanwhile leaves no part of it."""
    discarded = checkpoint.parent.parent / DISCARDED
    shutil.rmtree(discarded, ignore_errors=True)
    checkpoint.rename(discarded)
    shutil.rmtree(discarded)


def read_arrays(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return what `write_arrays` wrote, of any kind of state: (host, arrays).

    ``host["leaves"]`` describes the arrays, as in ``"float32[3,4]"``.
    """
    host = host_file.read(path)
    arrays = _load(path, host)
    # Of a run's checkpoint; a published agent has other files.
    host.pop("checksum", None)
    return host, arrays


def read_state(path: Path, target: State, *, partial: bool = False) -> State:
    """Return a checkpoint's state in the structure of ``target``.

    Args:
        path: The checkpoint's directory.
        target: Gives structure, shapes and types; its leaves may be shapes alone
            (`jax.ShapeDtypeStruct`).
        partial: Ignore top-level fields of the checkpoint that ``target`` lacks.

    Raises:
        UserError: If a leaf is missing, unexpected or of another shape.
        ValueError: If an array has changed since it was written.
    """
    host = host_file.read(path)
    leaves = host["leaves"]
    expected = shapes_of(target)
    check_shapes(path, fields_of(leaves, expected) if partial else leaves, expected)
    arrays = _load(path, host)
    check_finite(arrays)
    flat, structure = jax.tree_util.tree_flatten_with_path(target)
    restored = [_like(leaf, arrays[_name(where)]) for where, leaf in flat]
    return jax.tree_util.tree_unflatten(structure, restored)


def check_finite(arrays: Mapping[str, np.ndarray]) -> None:
    """Check that a state's parameters are numbers to act with.

    Args:
        arrays: The state's leaves by their paths.

    Raises:
        ValueError: If one is NaN or infinite.
    """
    for name, array in arrays.items():
        floats = name.startswith("params.") and array.dtype.kind == "f"
        if floats and not np.isfinite(array).all():
            raise ValueError(f"{name} is not finite")


def fields_of(leaves: Mapping[str, str], target: Mapping[str, str]) -> dict[str, str]:
    """Return the leaves that belong to the top-level fields of another state."""
    fields = {name.partition(".")[0] for name in target}
    return {n: leaf for n, leaf in leaves.items() if n.partition(".")[0] in fields}


def first_difference(there: Mapping[str, str], here: Mapping[str, str]) -> str:
    """Return the first leaf that differs between two states, "" if none does.

    Args:
        there: Shapes and types by path, of the checkpoint.
        here: Of the state that it is compared with.
    """
    for name in sorted(there.keys() | here.keys()):
        if there.get(name) != here.get(name):
            one, other = (leaves.get(name, "missing") for leaves in (there, here))
            return f"{name} is {one} in the checkpoint and {other} here"
    return ""


def check_shapes(path: Path, there: Mapping[str, str], here: Mapping[str, str]) -> None:
    """Compare a checkpoint's leaves with those of another state.

    Raises:
        UserError: If they differ.
    """
    if different := first_difference(there, here):
        raise UserError(
            f"the checkpoint {path} does not fit these settings: {different}; "
            "give --run another directory"
        )


def _load(path: Path, host: Mapping[str, Any]) -> dict[str, np.ndarray]:
    blank = {
        name: np.empty(shape, dtype)
        for name, (shape, dtype) in host_file.leaves(host["leaves"]).items()
    }
    full = {name: array for name, array in blank.items() if array.size}
    arrays = {**blank, **orbax.load(path / "state", full)}
    # Checkpoints of earlier versions have none.
    if "checksum" in host and host["checksum"] != host_file.checksum(arrays):
        raise ValueError("its arrays have changed since they were written")
    return arrays


def why(error: BaseException) -> str:
    """Return an error's reason in one line; Orbax's messages are longer."""
    said = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {said[:200]}" if said else type(error).__name__


def _shape(array: Any) -> str:
    return f"{array.dtype}[{','.join(map(str, array.shape))}]"


def _name(where: Any) -> str:
    return jax.tree_util.keystr(where, simple=True, separator=".")


def _is_key(leaf: Any) -> bool:
    return hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def named_arrays(state: Any) -> dict[str, np.ndarray]:
    """Return a state's leaves as arrays on the host, by their paths."""
    flat, _ = jax.tree_util.tree_flatten_with_path(state)
    plain = {
        _name(where): jax.random.key_data(leaf) if _is_key(leaf) else leaf
        for where, leaf in flat
    }
    return {name: np.asarray(leaf) for name, leaf in jax.device_get(plain).items()}


def shapes_of(state: Any) -> dict[str, str]:
    """Return shape and type of a state's leaves by their paths, as in ``host.json``.

    The leaves may be shapes alone (`jax.ShapeDtypeStruct`).
    """
    flat, _ = jax.tree_util.tree_flatten_with_path(state)
    return {_name(where): _shape(_plain(leaf)) for where, leaf in flat}


def shapes_of_arrays(arrays: Mapping[str, np.ndarray]) -> dict[str, str]:
    """Return shape and type of arrays by their names, as `shapes_of` does."""
    return {name: _shape(array) for name, array in arrays.items()}


def _plain(leaf: Any) -> Any:
    """Return an object with the shape and type that a leaf is stored with."""
    if _is_key(leaf):
        return jax.eval_shape(jax.random.key_data, leaf)
    return leaf if hasattr(leaf, "dtype") else np.asarray(leaf)


def with_arrays(state: State, arrays: dict[str, np.ndarray]) -> State:
    """Return a state with the leaves at some paths replaced."""
    flat, structure = jax.tree_util.tree_flatten_with_path(state)
    leaves = [
        _like(leaf, arrays[name]) if (name := _name(where)) in arrays else leaf
        for where, leaf in flat
    ]
    return jax.tree_util.tree_unflatten(structure, leaves)


def _like(leaf: Any, array: np.ndarray) -> Any:
    """Convert a restored array to the kind of leaf that the target has."""
    if _is_key(leaf):
        data = jnp.array(array)
        return jax.random.wrap_key_data(data, impl=jax.random.key_impl(leaf))
    if isinstance(leaf, jax.Array):
        return jax.device_put(jnp.array(array), leaf.sharding)
    if isinstance(leaf, jax.ShapeDtypeStruct):
        return jnp.array(array)
    if isinstance(leaf, bool | int | float):
        return type(leaf)(array)
    return array


def best_score(run_dir: Path, best_by: str) -> float:
    """Return the score of a run's best checkpoint; minus infinity without one.

    Args:
        run_dir: The run.
        best_by: What the score is the mean of, as in the settings.
    """
    found = [-np.inf]
    for kind in ("best", "latest") if runs.checkpoint_dirs(run_dir, "best") else ():
        for path in runs.checkpoint_dirs(run_dir, kind):
            with contextlib.suppress(OSError, ValueError):
                host = host_file.read(path)
                same = host.get("best_by", "training") == best_by
                if same and host["best"] is not None:
                    found.append(host["best"])
    return max(found)
