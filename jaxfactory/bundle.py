"""A checkpoint as files that any tool can read: safetensors and JSON.

::

    model.safetensors      parameters, statistics of the normaliser, counters, key
    optimizer.safetensors  the optimiser's state; may be missing
    checkpoint.json        what lives on the host, and the shape of every array

The names of the arrays are the paths of the state's leaves, as in a run's own
checkpoints, so that one is made from the other without a network being built.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from jaxfactory import checkpoint_files
from jaxfactory.errors import UserError


MODEL = "model.safetensors"
OPTIMIZER = "optimizer.safetensors"
HOST = "checkpoint.json"
FORMAT = 1
_OPTIMIZER_STATE = "opt_state."


def pack(
    path: Path, *, best: bool, optimizer: bool, settings: dict[str, Any]
) -> dict[str, bytes]:
    """Return the files of a checkpoint.

    Args:
        path: The checkpoint's directory.
        best: Whether it is the best of its run, which then keeps its record.
        optimizer: Whether the optimiser's state comes along.
        settings: The run's, written into the model's header as JSON.

    Raises:
        UserError: If the checkpoint cannot be read.
    """
    from safetensors.numpy import save

    try:
        host, arrays = checkpoint_files.read_arrays(path)
    except Exception as error:  # Orbax raises many kinds on damaged files.
        raise UserError(
            f"the checkpoint {path} cannot be read ({_first_line(error)}); "
            "train a little longer to get another one"
        ) from error
    if not best:
        # The record belongs to a checkpoint that stays behind.
        host["best"] = None
    # Safetensors writes an array's memory as it lies.
    arrays = {name: np.array(array, order="C") for name, array in arrays.items()}
    state = {n: a for n, a in arrays.items() if n.startswith(_OPTIMIZER_STATE)}
    model = {n: a for n, a in arrays.items() if n not in state}
    # One entry only: their order would be another each time, and so would the file.
    header = {"jaxfactory": json.dumps(settings)}
    text = json.dumps({"format": FORMAT, **host}, indent=2) + "\n"
    files = {MODEL: save(model, metadata=header), HOST: text.encode()}
    if optimizer:
        files[OPTIMIZER] = save(state)
    return files


def unpack(folder: Path, run_dir: Path) -> int:
    """Make a run's checkpoints from the files in a folder.

    Without the optimiser's file its state is what it is before the first update.

    Args:
        folder: Holds what `pack` returned.
        run_dir: Gets the checkpoint as its latest, and as its best if it was.

    Returns:
        The frames that it was trained for.

    Raises:
        UserError: If a file is missing, damaged or of a newer format.
    """
    host = _read_host(folder / HOST)
    arrays = {**_read(folder / MODEL), **_read(folder / OPTIMIZER, optional=True)}
    for name, (shape, dtype) in checkpoint_files.undo_shapes(host.pop("leaves")):
        if name not in arrays and name.startswith(_OPTIMIZER_STATE):
            # Adam begins with zeros and so do its counters.
            arrays[name] = np.zeros(shape, dtype)
        found = arrays.get(name)
        if found is None or found.shape != tuple(shape) or str(found.dtype) != dtype:
            raise UserError(
                f"{folder / MODEL} does not hold what {HOST} describes ({name}): "
                "the repository is damaged; push it again, or pull another --revision"
            )
    kinds = ("latest",) if host["best"] is None else ("latest", "best")
    for kind in kinds:
        checkpoint_files.write_arrays(run_dir, kind, arrays, host)
    return int(host["frames"])


def _read(path: Path, *, optional: bool = False) -> dict[str, np.ndarray]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    if optional and not path.is_file():
        return {}
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise UserError(
            f"{path} cannot be read ({_first_line(error)}); pull it again"
        ) from error


def _read_host(path: Path) -> dict[str, Any]:
    try:
        host = json.loads(path.read_text())
        number, missing = host.pop("format"), {"frames", "seconds", "best", "episodes"}
        missing -= host.keys()
        if missing or not isinstance(host.get("leaves"), dict):
            raise ValueError(f"it lacks {', '.join(sorted(missing)) or 'leaves'}")
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise UserError(f"{path} cannot be read ({error}); pull it again") from error
    if number > FORMAT:
        raise UserError(
            f"{path} is of format {number} and this version reads up to {FORMAT}; "
            "pip install --upgrade jaxfactory"
        )
    return host


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
