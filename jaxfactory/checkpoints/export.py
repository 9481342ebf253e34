"""A checkpoint in portable files: safetensors and JSON.

::

    model.safetensors      parameters, normalizer statistics, counters, key
    optimizer.safetensors  the optimizer state; may be missing
    checkpoint.json        host-side state, and the shape of every array

Arrays are named by the paths of the state's leaves, as in a run's own checkpoints, so
either form is converted to the other without building a network.
"""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from jaxfactory._util import plain_json
from jaxfactory._util.errors import UserError
from jaxfactory.checkpoints import checkpoint_files, host_file, tensor_file


MODEL = "model.safetensors"
OPTIMIZER = "optimizer.safetensors"
HOST = "checkpoint.json"
FORMAT = 1
_OPTIMIZER_STATE = "opt_state."
# Limits on the optimizer's counters: elements of one array, and bytes of all.
_SMALL = 16
_COUNTERS = 4096


def pack(
    path: Path, *, best: bool, optimizer: bool, settings: dict[str, Any]
) -> dict[str, bytes]:
    """Return the files of a checkpoint.

    Args:
        path: The checkpoint's directory.
        best: Whether it is the run's best checkpoint; the best score is kept only then.
        optimizer: Whether to include the optimizer state.
        settings: The run's settings, written into the model's header as JSON.

    Raises:
        UserError: If the checkpoint cannot be read.
    """
    from safetensors.numpy import save

    try:
        host, arrays = checkpoint_files.read_arrays(path)
    except Exception as error:  # Orbax raises many kinds on damaged files.
        raise UserError(
            f"the checkpoint {path} cannot be read ({checkpoint_files.why(error)}); "
            "train a little longer to get another one"
        ) from error
    if not best:
        # The best score belongs to another checkpoint, which is not exported.
        host["best"] = None
    # safetensors writes an array's memory as is, so it must be in C order.
    arrays = {name: np.array(array, order="C") for name, array in arrays.items()}
    state = {n: a for n, a in arrays.items() if n.startswith(_OPTIMIZER_STATE)}
    model = {n: a for n, a in arrays.items() if n not in state}
    # One entry only: the order of several varies, and so would the file.
    header = {"jaxfactory": json.dumps(settings)}
    text = json.dumps({"format": FORMAT, **host}, indent=2) + "\n"
    files = {MODEL: save(model, metadata=header), HOST: text.encode()}
    if optimizer:
        files[OPTIMIZER] = save(state)
    return files


def unpack(folder: Path, run_dir: Path) -> int:
    """Write a run's checkpoints from the files in a folder.

    Without the optimizer's file, its state is the one before the first update.

    Args:
        folder: Contains the files that `pack` returned.
        run_dir: The run to write to. The checkpoint becomes its latest, and also its
            best if it was exported as such.

    Returns:
        Frames it was trained for.

    Raises:
        UserError: If a file is missing, damaged or of a newer format.
    """
    host = _read_host(folder / HOST)
    model = _read(folder / MODEL)
    arrays = {**model, **_read(folder / OPTIMIZER, optional=True)}
    leaves = host_file.leaves(host.pop("leaves"))
    if arrays.keys() - leaves.keys():
        raise _mismatch(folder, min(arrays.keys() - leaves.keys()))
    # Adam keeps two moments per parameter, and a few counters.
    left = 3 * sum(array.nbytes for array in model.values()) + _COUNTERS
    for name, leaf in leaves.items():
        shape, dtype = leaf
        if name not in arrays and _may_begin_at_zero(name, leaf, model):
            left -= host_file.size_of(leaf)
            if left >= 0:
                # Adam's moments and counters start at zero.
                arrays[name] = np.zeros(shape, dtype)
        found = arrays.get(name)
        if found is None or found.shape != tuple(shape) or str(found.dtype) != dtype:
            raise _mismatch(folder, name)
    frames = arrays.get("frames")
    if frames is not None and frames.tolist() != host["frames"]:
        raise _mismatch(folder, "frames")
    kinds = ("latest",) if host["best"] is None else ("latest", "best")
    for kind in kinds:
        checkpoint_files.write_arrays(run_dir, kind, arrays, host)
    return int(host["frames"])


def _may_begin_at_zero(
    name: str, leaf: host_file.Leaf, model: dict[str, np.ndarray]
) -> bool:
    """Whether a missing array can be filled with the optimizer's initial zeros.

    Its moments have the shapes and types of the parameters, and names that end in
    theirs; everything else that it keeps is small.
    """
    if not name.startswith(_OPTIMIZER_STATE):
        return False
    shape, dtype = leaf
    if math.prod(shape) <= _SMALL:
        return True
    parts = name.split(".")
    for start in range(1, len(parts)):
        param = model.get(".".join(("params", *parts[start:])))
        if param is not None:
            return param.shape == tuple(shape) and str(param.dtype) == dtype
    return False


def _mismatch(folder: Path, name: str) -> UserError:
    return UserError(
        f"{folder / MODEL} does not match {HOST} ({name[:200]}): "
        "the repository is damaged; push it again, or pull another --revision"
    )


def _read(path: Path, *, optional: bool = False) -> dict[str, np.ndarray]:
    if optional and not path.is_file():
        return {}
    try:
        return tensor_file.load(path)
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path} cannot be read ({plain_json.reason(error)}); pull it again"
        ) from error


def _read_host(path: Path) -> dict[str, Any]:
    try:
        host = plain_json.read(path, allow_nan=True)
        if (
            not isinstance(host, dict)
            or type(number := host.pop("format", None)) is not int
        ):
            raise ValueError("it has no format")
        if number <= FORMAT:
            host_file.checked(host)
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path} cannot be read ({plain_json.reason(error)}); pull it again"
        ) from error
    if number > FORMAT:
        raise UserError(
            f"{path} has format {number}, but this version reads up to {FORMAT}; "
            "pip install --upgrade jaxfactory"
        )
    return host
