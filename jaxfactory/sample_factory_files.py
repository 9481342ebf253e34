"""Where Sample Factory's experiments keep what, and reading it.

An experiment is a directory with a config.json and a folder checkpoint_p0 of .pth
files, each a dictionary with the model, the optimiser and how far training had come.
"""

import math
from pathlib import Path

import numpy as np

from jaxfactory import plain_files, plain_json, torch_file
from jaxfactory.config import MAX_FRAMES
from jaxfactory.errors import UserError
from jaxfactory.sample_factory_settings import Settings


# The second was its name once.
_CONFIGS = ("config.json", "cfg.json")
_FOLDER = "checkpoint_p0"
# Settings that no other program's config.json has all of.
_SIGNS = ("env", "encoder_conv_architecture", "rnn_size", "ppo_clip_ratio")


def is_experiment(path: Path) -> bool:
    """Whether a directory is an experiment of Sample Factory with a checkpoint."""
    try:
        read_settings(path)
    except UserError:
        return False
    return bool(_checkpoints(path))


def find_checkpoint(path: Path) -> Path:
    """Return the .pth file that a path stands for."""
    if path.is_file():
        return path
    if not path.exists():
        raise UserError(f"there is no file or directory {path}")
    found = _checkpoints(path)
    if not found:
        raise UserError(
            f"{path} is no experiment of Sample Factory: it has no {_FOLDER}/*.pth"
        )
    return found[-1]


def _checkpoints(path: Path) -> list[Path]:
    """Return an experiment's checkpoints, those to prefer last."""
    folder = path if path.name.startswith("checkpoint_p") else path / _FOLDER
    # Their names begin with the number of updates, filled up with zeros.
    return [
        *sorted(folder.glob("checkpoint_*.pth")),
        *sorted(folder.glob("best_*.pth")),
    ]


def experiment_of(file: Path) -> Path:
    """Return the directory of the experiment that a .pth file belongs to."""
    # In the directory itself, in checkpoint_p0, or in checkpoint_p0/milestones.
    for folder in list(file.absolute().parents)[:3]:
        if any((folder / name).is_file() for name in _CONFIGS):
            return folder
    raise UserError(
        f"there is no {_CONFIGS[0]} beside {file} or above it; Sample Factory keeps "
        "one in the experiment's directory"
    )


def read_settings(path: Path) -> Settings:
    """Return the settings of the experiment in a directory.

    Raises:
        UserError: If it has none, or they cannot be read.
    """
    folder = path.parent if path.name.startswith("checkpoint_p") else path
    for name in _CONFIGS:
        file = folder / name
        if not file.is_file():
            continue
        values = plain_json.read_object(file, limit=plain_json.MIB)
        missing = [sign for sign in _SIGNS if sign not in values]
        if missing:
            raise UserError(
                f"{file} is not of Sample Factory 2: it has no {missing[0]}; only its "
                "agents can be imported"
            )
        return Settings(values, file)
    raise UserError(f"{path} is no experiment of Sample Factory: no {_CONFIGS[0]}")


class Checkpoint:
    """What a .pth file holds."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.values = torch_file.load(file)
        if not isinstance(self.values, dict) or not isinstance(
            self.values.get("model"), dict
        ):
            raise UserError(
                f"{file} is no checkpoint of Sample Factory: it has no model"
            )

    def model(self) -> dict[str, np.ndarray]:
        """Return the state dictionary."""
        model = self.values["model"]
        for name, array in model.items():
            if not isinstance(name, str) or not plain_files.is_plain(name):
                raise UserError(f"{self.file}: {name!r:.60} in its model is no name")
            if not isinstance(array, np.ndarray):
                raise UserError(f"{self.file}: {name} in its model is not an array")
        return model

    def number(self, name: str, default: float) -> float:
        """Return a number, the default where there is none.

        Raises:
            UserError: If it is negative, or more than 2^53, or NaN.
        """
        value = self.values.get(name, default)
        if type(value) not in (int, float):
            return default
        if not 0 <= value <= MAX_FRAMES or not math.isfinite(value):
            raise UserError(
                f"{self.file}: its {name} is {value} and must lie between 0 and 2^53"
            )
        return float(value)

    def frames(self, settings: Settings) -> int:
        """Return the frames that it was trained for."""
        steps = int(self.number("env_steps", 0.0))
        if settings.get("summaries_use_frameskip", True):
            return steps
        frames = steps * settings.get("env_frameskip", 4)
        if not 0 <= frames <= MAX_FRAMES:
            raise UserError(
                f"{self.file}: its env_steps are {frames} frames, which must lie "
                "between 0 and 2^53"
            )
        return frames
